"""The registry client: what the image jobs ask of a registry, one method each.

Every method takes `credentials` (None: anonymous), and may be given up by
`deadline_ns` (CLOCK_MONOTONIC).  All raise NotFound, Unauthenticated,
PermissionDenied, Unavailable (naming host and reason), ResourceExhausted
(asked too often), DataLoss (not what its digest says) and DeadlineExceeded.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from msgspec import Struct

from rundlet.errors import DataLoss, Internal, InvalidArgument, NotFound, Unavailable
from rundlet.registry.auth import GrantCache
from rundlet.registry.blob import Blob, Opened, save_blob, stream_blob
from rundlet.registry.exchange import Session, exchange
from rundlet.registry.host import follow_link, same_origin, split_origin
from rundlet.registry.message import FileBody, Flow, Interrupted, Request, Response, StreamBody
from rundlet.registry.retry import Clock, Limits
from rundlet.registry.settings import Credentials, RegistrySettings
from rundlet.registry.transport import Transport
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, digest_hasher, parse_digest
from rundlet.spec.document import parse_document
from rundlet.spec.reference import Reference

__all__ = ["Clock", "Credentials", "Fetched", "RegistryClient", "RegistrySettings"]

T = TypeVar("T")

# Schema 1 last: old registries turn what they have into it when nothing else is accepted.
_ACCEPTED = (*mediatype.MANIFESTS, *mediatype.INDEXES, *mediatype.SCHEMA_1)
_ANONYMOUS = Credentials()
_SETTINGS = RegistrySettings()
_CLOCK = Clock()
_TAG_PAGES_MAX = 1000
_NEXT_LINK = re.compile(r"<([^<>]*)>\s*;\s*rel=\"?next\"?")


class Fetched(NamedTuple):
    """A manifest or index as it was served; `digest` is that of `raw`."""

    raw: bytes
    media_type: str
    digest: Digest


class _Typed(Struct, frozen=True, rename="camel"):
    media_type: str = ""


class _Tags(Struct, frozen=True):
    tags: tuple[str, ...] = ()


class RegistryClient:
    """A client for any number of registries; one instance serves any number of threads."""

    def __init__(self, settings: RegistrySettings = _SETTINGS, *, clock: Clock = _CLOCK) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = Transport(settings)
        self._grants = GrantCache()

    def close(self) -> None:
        """Close idle connections; the client can be used on."""
        self._transport.close()

    def resolve(
        self, ref: Reference, credentials: Credentials | None = None, *, deadline_ns: int | None = None
    ) -> Fetched:
        """The manifest or index that `ref` names; by its digest when it has one, else by its tag."""
        limits = Limits(self._clock, deadline_ns)
        session = self._open_session(ref, "pull", credentials, limits)
        url = f"{_base_url(session, ref)}/manifests/{ref.digest or ref.tag}"
        request = Request("GET", url, {"Accept": ", ".join(_ACCEPTED)})
        response = self._run(exchange(request, session, f"manifest {_shorten(ref)}"), limits)
        digest = _verify_manifest(response, ref, f"{session.name}: manifest {_shorten(ref)}")
        return Fetched(response.body, _find_media_type(response), digest)

    def fetch_manifest(
        self,
        ref: Reference,
        digest: Digest,
        credentials: Credentials | None = None,
        *,
        deadline_ns: int | None = None,
    ) -> Fetched:
        """The manifest with exactly this digest in `ref`'s repository."""
        return self.resolve(ref.with_digest(digest), credentials, deadline_ns=deadline_ns)

    @contextmanager
    def open_blob(
        self,
        ref: Reference,
        digest: Digest,
        size: int,
        offset: int = 0,
        credentials: Credentials | None = None,
        *,
        deadline_ns: int | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Chunks of the blob from `offset` to its end, resumed when the connection breaks.

        The size is always checked, the digest when `offset` is 0: content is
        only to be believed once the iterator has ended without DataLoss.
        """
        blob = self._find_blob(ref, digest, size, credentials, Limits(self._clock, deadline_ns, cancel))
        hasher = None if offset else digest_hasher(digest.algorithm)
        stream = stream_blob(blob, offset, hasher)
        try:
            yield stream
        finally:
            # A generator's close ends the connection of an iteration left early.
            stream.close()

    def download_blob(
        self,
        ref: Reference,
        descriptor: Descriptor,
        path: str,
        credentials: Credentials | None = None,
        progress: Callable[[int], None] | None = None,
        cancel: threading.Event | None = None,
        *,
        deadline_ns: int | None = None,
    ) -> None:
        """The blob into the file `path`, resuming what is there; verified when this returns.

        `progress` is told how many bytes the file holds.  After DataLoss the
        file is gone; after any other error, or a kill, the next call goes on.
        """
        limits = Limits(self._clock, deadline_ns, cancel)
        blob = self._find_blob(ref, descriptor.parsed_digest(), descriptor.size, credentials, limits)
        save_blob(blob, path, progress)

    def list_tags(
        self, ref: Reference, credentials: Credentials | None = None, *, deadline_ns: int | None = None
    ) -> list[str]:
        """All tags of `ref`'s repository, in the registry's order."""
        limits = Limits(self._clock, deadline_ns)
        session = self._open_session(ref, "pull", credentials, limits)
        url = f"{_base_url(session, ref)}/tags/list"
        tags: list[str] = []
        for _ in range(_TAG_PAGES_MAX):
            response = self._run(exchange(Request("GET", url), session, f"tags of {ref.path}"), limits)
            tags += parse_document(response.body, _Tags, f"{session.name}: tags of {ref.path}").tags
            following = _NEXT_LINK.search(response.headers.get("Link", ""))
            if not following:
                return tags
            url = _same_host_link(session, url, following[1])
        raise Unavailable(f"{session.name}: tags of {ref.path}: more than {_TAG_PAGES_MAX} pages")

    def push_blob(
        self,
        ref: Reference,
        digest: Digest,
        source: bytes | str,
        credentials: Credentials | None = None,
        *,
        deadline_ns: int | None = None,
    ) -> None:
        """Upload content that has `digest`: bytes, or a file by its path; nothing when it is there already."""
        limits = Limits(self._clock, deadline_ns)
        session = self._open_session(ref, "pull,push", credentials, limits)
        what = f"blob {digest} of {ref.path}"
        base_url = _base_url(session, ref)
        if self._exists(f"{base_url}/blobs/{digest}", session, what, limits):
            return
        begin = Request("POST", f"{base_url}/blobs/uploads/", {"Content-Length": "0"})
        begun = self._run(exchange(begin, session, what, (202,)), limits)
        upload_url = _same_host_link(session, begin.url, begun.headers.get("Location", ""))
        url = f"{upload_url}{'&' if '?' in upload_url else '?'}{urlencode({'digest': str(digest)})}"
        body = source if isinstance(source, bytes) else FileBody.of(source)
        put = Request("PUT", url, {"Content-Type": "application/octet-stream"}, body)
        self._run(exchange(put, session, what, (201, 204)), limits)

    def push_manifest(
        self,
        ref: Reference,
        raw: bytes,
        media_type: str,
        credentials: Credentials | None = None,
        *,
        deadline_ns: int | None = None,
    ) -> Digest:
        """Upload a manifest or index under `ref`'s tag, or by digest when it has none."""
        limits = Limits(self._clock, deadline_ns)
        session = self._open_session(ref, "pull,push", credentials, limits)
        digest = Digest.of(raw)
        url = f"{_base_url(session, ref)}/manifests/{ref.tag or digest}"
        put = Request("PUT", url, {"Content-Type": media_type}, raw)
        self._run(exchange(put, session, f"manifest {_shorten(ref)}", (201,)), limits)
        return digest

    def request(
        self,
        ref: Reference,
        method: str,
        endpoint: str,
        *,
        what: str,
        expected: tuple[int, ...] = (200,),
        actions: str = "pull",
        headers: Mapping[str, str] = {},
        body: bytes | StreamBody = b"",
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        retries: int | None = None,
    ) -> tuple[Response, str]:
        """One request in `ref`'s repository, for what has no method of its own; (answer, its URL).

        `endpoint` is below /v2/<path>/ ("blobs/sha256:…"), or a link that the registry gave.
        `actions` is what the token must allow; `retries` overrides the settings'.
        """
        limits = limits or Limits(self._clock)
        session = self._open_session(ref, actions, credentials, limits)
        if retries is not None:
            session = session._replace(retries=retries)
        linked = endpoint.startswith("/") or "://" in endpoint
        base_url = f"{_base_url(session, ref)}/"
        url = _same_host_link(session, base_url, endpoint) if linked else f"{base_url}{endpoint}"
        asked = Request(method, url, headers, body)
        return self._run(exchange(asked, session, what, expected), limits), url

    def read_url(self, url: str, *, deadline_ns: int | None = None) -> bytes:
        """A small document that is no registry's, without credentials."""
        limits = Limits(self._clock, deadline_ns)
        scheme, authority = split_origin(url)
        session = self._make_session(f"{scheme}://{authority}", "", None)
        return self._run(exchange(Request("GET", url), session, url), limits).body

    def log_in(self, domain: str, credentials: Credentials, *, deadline_ns: int | None = None) -> None:
        """Ask the registry whether it takes `credentials`; Unauthenticated when it does not."""
        limits = Limits(self._clock, deadline_ns)
        session = self._make_session(self._transport.find_origin(domain, limits), "", credentials)
        self._run(exchange(Request("GET", f"{session.origin}/v2/"), session, "log-in"), limits)

    def _exists(self, url: str, session: Session, what: str, limits: Limits) -> bool:
        try:
            self._run(exchange(Request("HEAD", url), session, what), limits)
        except NotFound:
            return False
        return True

    def _find_blob(
        self, ref: Reference, digest: Digest, size: int, credentials: Credentials | None, limits: Limits
    ) -> Blob:
        session = self._open_session(ref, "pull", credentials, limits)
        url = f"{_base_url(session, ref)}/blobs/{digest}"
        what = f"blob {digest} of {ref.path}"

        def open_at(offset: int) -> Opened:
            headers = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
            request = Request("GET", url, headers, stream=True)
            response = self._run(exchange(request, session, what, (200, 206)), limits)
            if response.stream is None:
                raise Internal(f"{session.name}: {what}: the transport read the body of a stream")
            return Opened(response, response.stream)

        return Blob(f"{session.name}: {what}", digest, size, open_at, self._settings.retries, limits)

    def _open_session(
        self, ref: Reference, actions: str, credentials: Credentials | None, limits: Limits
    ) -> Session:
        origin = self._transport.find_origin(ref.domain, limits)
        return self._make_session(origin, f"repository:{ref.path}:{actions}", credentials)

    def _make_session(self, origin: str, scope: str, credentials: Credentials | None) -> Session:
        return Session(
            origin=origin,
            scope=scope,
            credentials=credentials or _ANONYMOUS,
            grants=self._grants,
            clock=self._clock,
            retries=self._settings.retries,
        )

    def _run(self, flow: Flow[T], limits: Limits) -> T:
        """Drive a flow: send its requests, sleep its pauses."""
        with closing(flow):
            try:
                step = next(flow)
                while True:
                    if not isinstance(step, Request):
                        limits.wait(step.delay_s, step.cause.message, step.cause.verdict)
                        step = next(flow)
                        continue
                    try:
                        response = self._transport.send(step, limits)
                    except Interrupted as error:
                        step = flow.throw(error)
                    else:
                        step = flow.send(response)
            except StopIteration as stop:
                result: T = stop.value
                return result


def _base_url(session: Session, ref: Reference) -> str:
    return f"{session.origin}/v2/{ref.path}"


def _shorten(ref: Reference) -> str:
    """`ref` without the host, which the error names already."""
    return str(ref).removeprefix(f"{ref.domain}/")


def _same_host_link(session: Session, base_url: str, location: str) -> str:
    """A link for our next authorized request: it must stay with the registry."""
    url = follow_link(session.origin, base_url, location)
    if not location or not same_origin(url, session.origin):
        raise Unavailable(f"{session.name}: sent us on to {location[:200]!r}, which is not its own")
    return url


def _verify_manifest(response: Response, ref: Reference, what: str) -> Digest:
    """The digest that the body really has: the wanted one, else the one that the registry claims."""
    wanted = ref.digest or _claimed_digest(response)
    content = response.body
    if _find_media_type(response) == mediatype.DOCKER_MANIFEST_V1_SIGNED:
        from rundlet.spec.schema1 import signed_payload

        content = signed_payload(content, what)
    found = Digest.of(content, wanted.algorithm if wanted else "sha256")
    if wanted and found != wanted:
        raise DataLoss(f"{what}: the content has digest {found}, not {wanted}")
    return found


def _claimed_digest(response: Response) -> Digest | None:
    try:
        return parse_digest(response.headers.get("Docker-Content-Digest", ""))
    except InvalidArgument:
        return None


def _find_media_type(response: Response) -> str:
    """The manifest's type by its header; by the document itself when the header says nothing useful."""
    served = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if served in _ACCEPTED:
        return served
    try:
        return parse_document(response.body, _Typed, "manifest").media_type
    except InvalidArgument:
        return ""
