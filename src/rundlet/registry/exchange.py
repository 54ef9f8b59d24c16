"""One request to a registry with all that belongs to it: log-in, redirects, retries.

attempt ─▶ answer ─▶ 401? log in, once ─▶ 3xx? follow ─▶ success
   ▲                                                   └▶ may pass? pause ┐
   └──────────────────────────────────────────────────────────────────────┘
"""

from typing import NamedTuple

from rundlet.errors import Unavailable
from rundlet.registry.auth import GrantCache, authorize, parse_challenges
from rundlet.registry.host import follow_link, same_origin, split_origin
from rundlet.registry.message import Flow, Interrupted, Pause, Request, Response, ask
from rundlet.registry.refusal import make_refusal
from rundlet.registry.retry import Clock, backoff_delay_s
from rundlet.registry.settings import Credentials

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 10


class Session(NamedTuple):
    """Where and as whom we ask; `scope` is in the token specification's form."""

    origin: str
    scope: str
    credentials: Credentials
    grants: GrantCache
    clock: Clock
    retries: int

    @property
    def name(self) -> str:
        return f"registry {split_origin(self.origin)[1]}"


def exchange(
    request: Request, session: Session, what: str, expected: tuple[int, ...] = (200,)
) -> Flow[Response]:
    """The answer to `request`, whose status is one of `expected`.

    `what` names the object in errors ("manifest crio/redis:alpine").  Raises
    what `make_refusal` makes of any other status, and Unavailable.
    """
    attempt = 0
    while True:
        try:
            return (yield from _attempt(request, session, what, expected))
        except Interrupted as error:
            if attempt == session.retries:
                raise error.verdict from error
            delay_s = backoff_delay_s(attempt, error.retry_after_s, session.clock)
            pause = Pause(delay_s, error)
        yield pause
        attempt += 1


def _attempt(request: Request, session: Session, what: str, expected: tuple[int, ...]) -> Flow[Response]:
    key = (session.origin, session.scope, session.credentials)
    header = session.grants.find(key, _now_s(session))
    response, asked_last = yield from _follow(_with_header(request, header), session)
    if response.status == 401 and same_origin(asked_last, session.origin):
        challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        grant = yield from authorize(
            challenges, session.origin, session.scope, session.credentials, session.clock.wall_s()
        )
        session.grants.keep(key, grant, _now_s(session))
        response, _ = yield from _follow(_with_header(request, grant.header), session)
    if response.status not in expected:  # so its body has been read: only 200 and 206 stream
        raise make_refusal(response, f"{session.name}: {what}", session.clock.wall_s())
    return response


def _follow(request: Request, session: Session) -> Flow[tuple[Response, str]]:
    """The first answer that is no redirect, and the URL that gave it."""
    for _ in range(_REDIRECTS_MAX):
        response = yield from ask(request)
        location = response.headers.get("Location", "")
        # An upload's Location is data for the next request, not a redirect.
        if response.status not in _REDIRECTS or request.method not in ("GET", "HEAD") or not location:
            return response, request.url
        request = _redirect(request, follow_link(session.origin, request.url, location))
    raise Unavailable(f"{session.name}: more than {_REDIRECTS_MAX} redirects")


def _redirect(request: Request, url: str) -> Request:
    if same_origin(request.url, url):
        return request._replace(url=url)
    return _with_header(request, "")._replace(url=url)


def _with_header(request: Request, authorization: str) -> Request:
    headers = {key: value for key, value in request.headers.items() if key != "Authorization"}
    if authorization:
        headers["Authorization"] = authorization
    return request._replace(headers=headers)


def _now_s(session: Session) -> float:
    return session.clock.now_ns() / 1e9
