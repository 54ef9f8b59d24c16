"""Simple signatures kept by the registry itself: the API extension of OpenShift's registry.

GET /v2/                                        X-Registry-Supports-Signatures: 1
GET /extensions/v2/<path>/signatures/<digest>   {"signatures": [SIGNATURE, …]}
PUT /extensions/v2/<path>/signatures/<digest>   SIGNATURE

SIGNATURE  {"schemaVersion": 2, "name": "<digest>@<32 hex digits>", "type": "atomic", "content": base64}

Where a registry has it, it counts instead of lookaside storage.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from rundlet.errors import NotFound, PermissionDenied, ResourceExhausted, Unauthenticated
from rundlet.registry.access import Remote
from rundlet.registry.message import Response
from rundlet.registry.retry import Clock, Limits
from rundlet.spec.base64 import decode_base64, encode_base64
from rundlet.spec.digest import Digest
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode

_HEADER: Final = "X-Registry-Supports-Signatures"
_SIGNATURES_MAX: Final = 128


class _Signature(Struct, frozen=True, rename="camel"):
    schema_version: int
    name: str
    type: str
    content: str


class _Signatures(Struct, frozen=True):
    signatures: tuple[_Signature, ...] = ()


def keeps_signatures(remote: Remote, *, deadline_ns: int | None = None) -> bool:
    """Whether the registry says that it has the extension."""
    try:
        answer = _ask(remote, "GET", "/v2/", deadline_ns=deadline_ns)
    except (Unauthenticated, PermissionDenied, NotFound):  # it speaks to repositories only
        return False
    return answer.headers.get(_HEADER, "") == "1"


def read_extension(remote: Remote, digest: Digest, *, deadline_ns: int | None = None) -> list[bytes]:
    """The simple signatures of the manifest that the registry keeps; none is verified."""
    try:
        answer = _ask(remote, "GET", _endpoint(remote, digest), deadline_ns=deadline_ns)
    except NotFound:
        return []
    what = f"{remote.reference.domain}: signatures of {digest}"
    listed = parse_document(answer.body, _Signatures, what).signatures
    if len(listed) > _SIGNATURES_MAX:
        raise ResourceExhausted(f"{what}: more than {_SIGNATURES_MAX}")
    known = [one for one in listed if (one.schema_version, one.type) == (2, "atomic")]
    return [decode_base64(one.content, what) for one in known]


def add_extension(remote: Remote, digest: Digest, signatures: Sequence[bytes]) -> None:
    """Have the registry keep those of `signatures` that it does not have yet."""
    present = read_extension(remote, digest)
    for signature in signatures:
        if signature not in present:
            name = f"{digest}@{secrets.token_hex(16)}"
            body = encode(_Signature(2, name, "atomic", encode_base64(signature)))
            _ask(remote, "PUT", _endpoint(remote, digest), body)


def _endpoint(remote: Remote, digest: Digest) -> str:
    return f"/extensions/v2/{remote.reference.path}/signatures/{digest}"


def _ask(
    remote: Remote, method: str, endpoint: str, body: bytes = b"", *, deadline_ns: int | None = None
) -> Response:
    writes = method == "PUT"
    answer, _ = remote.client.request(
        remote.reference,
        method,
        endpoint,
        what=f"signatures of {remote.reference.path}",
        expected=(200, 201, 204) if writes else (200,),
        actions="pull,push" if writes else "pull",
        headers={"Content-Type": "application/json"} if writes else {},
        body=body,
        credentials=remote.credentials,
        limits=Limits(Clock(), deadline_ns),
    )
    return answer
