"""What copying asks of a repository beyond a pull, one function each.

    HEAD   blobs/<digest>                        is it there?
    POST   blobs/uploads/?mount=<d>&from=<repo>  201: taken over; 202: an upload began instead
    POST   blobs/uploads/                        an upload begins
    PATCH  <location>        PUT <location>?digest=   its content, then its name
    GET    <location>                            how much has arrived: Range: 0-<last>
    GET    referrers/<digest>                    404: the tag <algorithm>-<hex> lists them
    DELETE manifests/<reference>

(distribution-spec 1.1.)  All take the `Remote` that `Registries` found, and raise what
`RegistryClient` raises.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlencode

from rundlet.errors import Error, Internal, InvalidArgument, NotFound, Unavailable, Unimplemented
from rundlet.registry.access import Remote
from rundlet.registry.message import Response, StreamBody
from rundlet.registry.retry import Clock, Limits, backoff_delay_s
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode
from rundlet.spec.manifest import Index

_PUSH: Final = "pull,push"
_UPLOAD_TRIES: Final = 4
_PAGES_MAX: Final = 100
_UPLOADED = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_NEXT_LINK = re.compile(r"<([^<>]*)>\s*;\s*rel=\"?next\"?")


def find_blob(remote: Remote, digest: Digest) -> int | None:
    """The blob's size as the registry says it, None when it is not there."""
    try:
        answer = _ask(remote, "HEAD", f"blobs/{digest}", f"blob {digest}")
    except NotFound:
        return None
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def mount_blob(remote: Remote, digest: Digest, origin: str) -> bool:
    """Take a blob over from the repository `origin` of the same registry; False when it cannot be."""
    query = urlencode({"mount": str(digest), "from": origin})
    answer = _ask(remote, "POST", f"blobs/uploads/?{query}", f"blob {digest}", (201, 202), actions=_PUSH)
    if answer.status == 201:
        return True
    location = answer.headers.get("Location", "")
    if location:  # the upload that nobody asked for
        try:
            _ask(remote, "DELETE", location, f"blob {digest}", (202, 204), actions=_PUSH)
        except Error:
            pass  # it expires by itself
    return False


class _Upload(NamedTuple):
    """An upload at the registry: where it goes on, and how many bytes are there."""

    location: str
    done_bytes: int = 0


def push_blob(remote: Remote, digest: Digest, upload: StreamBody) -> None:
    """Upload content whose digest is known, in one request where nothing breaks.

    One that breaks goes on after what has arrived, if the registry says how much that is; else
    it begins anew.
    """
    under_way = _Upload(_begin(remote, str(digest)))
    for attempt in range(_UPLOAD_TRIES):
        try:
            _push_rest(remote, under_way, digest, upload)
            return
        except Error as error:
            # A registry may refuse to go on where it said that it stands.
            passing = isinstance(error, Unavailable) or under_way.done_bytes
            if attempt == _UPLOAD_TRIES - 1 or not passing:
                raise
            _pause(attempt)
            if find_blob(remote, digest) is not None:  # only the answer was lost
                return
            found = _find_upload(remote, under_way, digest)
            if found is None or found.done_bytes <= under_way.done_bytes:
                found = _Upload(_begin(remote, str(digest)))
            under_way = found


def _push_rest(remote: Remote, under_way: _Upload, digest: Digest, upload: StreamBody) -> None:
    location, done = under_way
    if not done:
        _put(remote, location, digest, upload)
        return
    if done < upload.size_bytes:
        rest = StreamBody(partial(_open_from, upload, done), upload.size_bytes - done)
        location = _patch(remote, location, rest, {"Content-Range": f"{done}-{upload.size_bytes - 1}"})
    _put(remote, location, digest, b"")


@contextmanager
def _open_from(upload: StreamBody, offset: int) -> Iterator[Iterator[bytes]]:
    with upload.open() as chunks:
        yield _skip(chunks, offset)


def _skip(chunks: Iterator[bytes], size_bytes: int) -> Iterator[bytes]:
    for chunk in chunks:
        if size_bytes < len(chunk):
            yield chunk[size_bytes:]
        size_bytes = max(0, size_bytes - len(chunk))


def _find_upload(remote: Remote, under_way: _Upload, digest: Digest) -> _Upload | None:
    """How far a broken upload came; None when the registry does not know it any more."""
    try:
        answer = _ask(remote, "GET", under_way.location, f"blob {digest}", (204,), actions=_PUSH)
    except Error:
        return None
    found = _UPLOADED.fullmatch(answer.headers.get("Range", ""))
    last = int(found[1]) if found else 0
    return _Upload(_follow(answer, under_way.location), last + 1) if last else None


def _pause(attempt: int) -> None:
    clock = Clock()
    clock.sleep(backoff_delay_s(attempt, 0.0, clock), None)


def push_stream(remote: Remote, upload: StreamBody) -> str:
    """Upload content whose digest its end will tell; returns where `finish_stream` gives it its name.

    One that breaks begins anew: content that is made on the way may not be the same twice.
    """
    for attempt in range(_UPLOAD_TRIES):
        try:
            return _patch(remote, _begin(remote, "new"), upload, {})
        except Unavailable:
            if attempt == _UPLOAD_TRIES - 1:
                raise
            _pause(attempt)
    raise Internal("no attempt was made")


def _patch(remote: Remote, location: str, body: StreamBody, headers: dict[str, str]) -> str:
    """Add to an upload; where it goes on."""
    answer, _ = remote.client.request(
        remote.reference,
        "PATCH",
        location,
        what="new blob",
        expected=(202,),
        actions=_PUSH,
        headers={"Content-Type": "application/octet-stream", **headers},
        body=body,
        credentials=remote.credentials,
        retries=0,
    )
    return _follow(answer, location)


def finish_stream(remote: Remote, location: str, digest: Digest) -> None:
    _put(remote, location, digest, b"")


def delete_manifest(remote: Remote, reference: str) -> None:
    """Remove a manifest by digest, or a tag; Unimplemented when the registry does not delete."""
    what = f"manifest {reference}"
    try:
        _ask(remote, "DELETE", f"manifests/{reference}", what, (202, 200), actions="pull,push,delete")
    except Unimplemented as error:
        raise Unimplemented(f"{error.message}", hint="the registry does not allow deletion") from error


def list_referrers(
    remote: Remote, digest: Digest, *, deadline_ns: int | None = None
) -> tuple[Descriptor, ...]:
    """Manifests whose subject is `digest`: by the API, else by the tag that stands in for it."""
    what = f"referrers of {digest}"
    found: list[Descriptor] = []
    endpoint = f"referrers/{digest}"
    for _ in range(_PAGES_MAX):
        try:
            answer = _ask(remote, "GET", endpoint, what, deadline_ns=deadline_ns)
        except NotFound:
            return _read_fallback(remote, digest, deadline_ns)
        found += parse_document(answer.body, Index, f"{remote.reference.domain}: {what}").manifests
        following = _NEXT_LINK.search(answer.headers.get("Link", ""))
        if not following:
            return tuple(found)
        endpoint = following[1]
    raise Unavailable(f"{remote.reference.domain}: {what}: more than {_PAGES_MAX} pages")


def fallback_tag(digest: Digest) -> str:
    """The referrers tag schema: for registries without the API."""
    return f"{digest.algorithm}-{digest.hex}"[:128]


def _read_fallback(remote: Remote, digest: Digest, deadline_ns: int | None = None) -> tuple[Descriptor, ...]:
    target = remote.reference.with_tag(fallback_tag(digest))
    try:
        fetched = remote.client.resolve(target, remote.credentials, deadline_ns=deadline_ns)
    except NotFound:
        return ()
    return parse_document(fetched.raw, Index, f"{remote.reference.domain}: referrers of {digest}").manifests


def push_manifest(remote: Remote, raw: bytes, media_type: str, tag_or_digest: str) -> bool:
    """Upload a manifest; whether the registry took note of its subject (the OCI-Subject header)."""
    answer = _ask(
        remote,
        "PUT",
        f"manifests/{tag_or_digest}",
        f"manifest {tag_or_digest}",
        (201, 202, 200),
        actions=_PUSH,
        headers={"Content-Type": media_type},
        body=raw,
    )
    return "OCI-Subject" in answer.headers


def add_fallback_referrer(remote: Remote, subject: Digest, referrer: Descriptor) -> None:
    """List `referrer` under the tag that stands in for the referrers API."""
    known = [one for one in _read_fallback(remote, subject) if one.digest != referrer.digest]
    index = Index(2, (*known, referrer), media_type=mediatype.OCI_INDEX)
    push_manifest(remote, encode(index), mediatype.OCI_INDEX, fallback_tag(subject))


def _begin(remote: Remote, name: str) -> str:
    headers = {"Content-Length": "0"}
    answer = _ask(remote, "POST", "blobs/uploads/", f"blob {name}", (202,), actions=_PUSH, headers=headers)
    return _follow(answer, "")


def _follow(answer: Response, before: str) -> str:
    location = answer.headers.get("Location", "") or before
    if not location:
        raise InvalidArgument("the registry did not say where to upload to")
    return location


def _put(remote: Remote, location: str, digest: Digest, body: StreamBody | bytes) -> None:
    url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': str(digest)})}"
    remote.client.request(
        remote.reference,
        "PUT",
        url,
        what=f"blob {digest}",
        expected=(201, 204),
        actions=_PUSH,
        headers={"Content-Type": "application/octet-stream"},
        body=body,
        credentials=remote.credentials,
        retries=None if isinstance(body, bytes) else 0,
    )


def _ask(
    remote: Remote,
    method: str,
    endpoint: str,
    what: str,
    expected: tuple[int, ...] = (200,),
    *,
    actions: str = "pull",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    deadline_ns: int | None = None,
) -> Response:
    answer, _ = remote.client.request(
        remote.reference,
        method,
        endpoint,
        what=f"{what} of {remote.reference.path}",
        expected=expected,
        actions=actions,
        headers=headers or {},
        body=body,
        credentials=remote.credentials,
        limits=Limits(Clock(), deadline_ns) if deadline_ns is not None else None,
    )
    return answer
