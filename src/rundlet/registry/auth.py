"""How a registry is opened: Basic and Bearer, as flows (distribution, token authentication).

    GET /v2/…        ─▶ 401, WWW-Authenticate: Bearer realm=R,service=S,scope=P
    GET R?service=S&scope=P        [Authorization: Basic …]       ─▶ {"token": T}
    GET /v2/…                       Authorization: Bearer T       ─▶ 200

With an identity token the second step is an OAuth2 POST of grant_type=refresh_token.
"""

import base64
import re
import threading
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from rundlet.errors import InvalidArgument, PermissionDenied, Unauthenticated
from rundlet.registry.host import follow_link
from rundlet.registry.message import Flow, Interrupted, Request, Response, ask
from rundlet.registry.refusal import make_refusal
from rundlet.registry.settings import Credentials
from rundlet.spec.document import parse_document

_TOKEN_SIZE_MAX = 1 << 20
# The token specification's default, and a margin so that a token does not
# expire between our check and the registry's.
_LIFETIME_DEFAULT_S = 60.0
_LIFETIME_MARGIN_S = 10.0

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PIECE = re.compile(
    rf'(?P<key>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))|(?P<scheme>{_WORD})'
)
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class Challenge(NamedTuple):
    """One way in that a WWW-Authenticate header offers; names in lower case."""

    scheme: str
    parameters: dict[str, str]


class Grant(NamedTuple):
    """An Authorization header's value and how long it may be used."""

    header: str
    lifetime_s: float = float("inf")


class _TokenAnswer(Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float = _LIFETIME_DEFAULT_S


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of WWW-Authenticate (RFC 9110, 11.6.1); what is malformed is passed over."""
    challenges: list[Challenge] = []
    for piece in _PIECE.finditer(header):
        if piece["scheme"]:
            challenges.append(Challenge(piece["scheme"].lower(), {}))
        elif challenges:
            quoted = piece["quoted"]
            value = piece["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1].parameters.setdefault(piece["key"].lower(), value)
    return tuple(challenges)


def authorize(
    challenges: Sequence[Challenge], origin: str, scope: str, credentials: Credentials, now_s: float
) -> Flow[Grant]:
    """Answer the registry at `origin`; Bearer is preferred to Basic.

    Raises Unauthenticated when nothing fits or the token server refuses.
    """
    offered = {challenge.scheme: challenge.parameters for challenge in reversed(challenges)}
    if "bearer" in offered and credentials.registry_token:
        return Grant(f"Bearer {_check_token(credentials.registry_token, origin)}")
    if "bearer" in offered:
        return (yield from _fetch_token(offered["bearer"], origin, scope, credentials, now_s))
    if "basic" in offered and credentials.username:
        return Grant(basic_header(credentials))
    if "basic" in offered:
        raise Unauthenticated(f"registry {_name(origin)}: it wants a user name and a password")
    raise Unauthenticated(f"registry {_name(origin)}: it offers no way to log in that rundlet knows")


def basic_header(credentials: Credentials) -> str:
    """RFC 7617 in UTF-8."""
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _fetch_token(
    parameters: dict[str, str], origin: str, scope: str, credentials: Credentials, now_s: float
) -> Flow[Grant]:
    realm = follow_link(origin, "", parameters.get("realm", ""))
    asked = {"service": parameters.get("service", ""), "scope": parameters.get("scope", "") or scope}
    asked = {key: value for key, value in asked.items() if value}
    response = yield from ask(_token_request(realm, asked, credentials))
    what = f"registry {_name(origin)}: token server {_name(realm)}"
    if response.status != 200:
        raise _token_refusal(response, what, now_s)
    try:
        answer = parse_document(response.body, _TokenAnswer, what)
    except InvalidArgument as error:
        raise Unauthenticated(error.message) from error
    token = _check_token(answer.token or answer.access_token, origin)
    return Grant(f"Bearer {token}", max(answer.expires_in, _LIFETIME_DEFAULT_S) - _LIFETIME_MARGIN_S)


def _token_request(realm: str, asked: dict[str, str], credentials: Credentials) -> Request:
    if credentials.identity_token:
        form = {"grant_type": "refresh_token", "client_id": "rundlet", **asked}
        form["refresh_token"] = credentials.identity_token
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", realm, headers, urlencode(form).encode(), size_max=_TOKEN_SIZE_MAX)
    headers = {"Authorization": basic_header(credentials)} if credentials.username else {}
    separator = "&" if urlsplit(realm).query else "?"
    url = f"{realm}{separator}{urlencode(asked)}" if asked else realm
    return Request("GET", url, headers, size_max=_TOKEN_SIZE_MAX)


def _token_refusal(response: Response, what: str, now_s: float) -> Exception:
    """Whatever way a token server says no to us, the caller is not authenticated."""
    error = make_refusal(response, what, now_s)
    if isinstance(error, Interrupted | Unauthenticated | PermissionDenied):
        return error
    return Unauthenticated(error.message, hint=error.hint)


def _check_token(token: str, origin: str) -> str:
    # A line end inside would let a token server write headers of our requests.
    if not _HEADER_SAFE.fullmatch(token):
        raise Unauthenticated(f"registry {_name(origin)}: the token is empty or malformed")
    return token


def _name(url: str) -> str:
    return urlsplit(url).netloc


class GrantCache:
    """Grants by origin, scope and credentials, until they expire; safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: dict[tuple[str, str, Credentials], tuple[str, float]] = {}

    def find(self, key: tuple[str, str, Credentials], now_s: float) -> str:
        """The Authorization value that still holds at `now_s`, "" when there is none."""
        with self._lock:
            header, expires_at_s = self._grants.get(key, ("", 0.0))
        return header if now_s < expires_at_s else ""

    def keep(self, key: tuple[str, str, Credentials], grant: Grant, now_s: float) -> None:
        with self._lock:
            self._grants = {kept: value for kept, value in self._grants.items() if value[1] > now_s}
            self._grants[key] = (grant.header, now_s + grant.lifetime_s)
