"""What copying asks of a repository beyond a pull, one function each.

    HEAD   blobs/<digest>                        is it there?
    POST   blobs/uploads/?mount=<d>&from=<repo>  201: taken over; 202: an upload began instead
    POST   blobs/uploads/                        an upload begins
    PATCH  <location>        PUT <location>?digest=   its content, then its name
    GET    referrers/<digest>                    404: the tag <algorithm>-<hex> lists them
    DELETE manifests/<reference>

(distribution-spec 1.1.)  All take the `Remote` that `Registries` found, and raise what
`RegistryClient` raises.
"""

import re
from typing import Final
from urllib.parse import urlencode

from rundlet.errors import Error, InvalidArgument, NotFound, Unavailable, Unimplemented
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


def push_blob(remote: Remote, digest: Digest, upload: StreamBody) -> None:
    """Upload content whose digest is known, in one request; again from its start when that breaks."""
    for attempt in range(_UPLOAD_TRIES):
        try:
            location = _begin(remote, str(digest))
            _put(remote, location, digest, upload)
            return
        except Unavailable:
            if attempt == _UPLOAD_TRIES - 1:
                raise
            clock = Clock()
            clock.sleep(backoff_delay_s(attempt, 0.0, clock), None)


def push_stream(remote: Remote, upload: StreamBody) -> str:
    """Upload content whose digest its end will tell; returns where `finish_stream` gives it its name."""
    location = _begin(remote, "new")
    headers = {"Content-Type": "application/octet-stream"}
    answer, _ = remote.client.request(
        remote.reference,
        "PATCH",
        location,
        what="new blob",
        expected=(202,),
        actions=_PUSH,
        headers=headers,
        body=upload,
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
