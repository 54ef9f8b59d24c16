"""Rekor's promise that a signature is in its log, checked without asking it.

annotation dev.sigstore.cosign/bundle
{"SignedEntryTimestamp": base64 of an ECDSA signature over the canonical JSON of Payload,
 "Payload": {"body": base64 of ENTRY, "integratedTime": s, "logIndex": n, "logID": hex}}

ENTRY  {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
          "data":      {"hash": {"algorithm": "sha256", "value": hex of the payload's sum}},
          "signature": {"content": base64, "publicKey": {"content": base64 of PEM}}}}
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from msgspec import Struct, field

from rundlet.errors import PermissionDenied
from rundlet.spec.base64 import decode_base64
from rundlet.spec.json import convert, decode_unique
from rundlet.trust.pem import decode_pem
from rundlet.trust.publickey import PublicKey, verifies

_WHAT = "Rekor bundle"


class LoggedSignature(NamedTuple):
    """What must be in the log: the signature, over what, and by whom (a PEM key or certificate)."""

    signature: bytes
    payload: bytes
    signer_pem: bytes


class _Bundle(Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    signed_entry_timestamp: str
    payload: dict[str, Any]


class _Payload(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    body: str
    integrated_time: int
    log_index: int
    log_id: str = field(name="logID")


class _Hash(Struct, frozen=True):
    algorithm: Literal["sha256"]
    value: str


class _Data(Struct, frozen=True):
    hash: _Hash


class _KeyContent(Struct, frozen=True):
    content: str


class _Signature(Struct, frozen=True, rename="camel"):
    content: str
    public_key: _KeyContent


class _Spec(Struct, frozen=True):
    data: _Data
    signature: _Signature


class _Entry(Struct, frozen=True, rename="camel"):
    api_version: Literal["0.0.1"]
    kind: Literal["hashedrekord"]
    spec: _Spec


def verify_bundle(bundle: str, keys: Sequence[PublicKey], logged: LoggedSignature) -> int:
    """When the log took in `logged`, in Unix seconds, by the word of one of `keys`.

    Raises PermissionDenied when the bundle promises nothing of the kind, InvalidArgument
    when it is malformed.
    """
    document = convert(decode_unique(bundle.encode(), _WHAT), _Bundle, _WHAT)
    promise = decode_base64(document.signed_entry_timestamp, f"{_WHAT}: SignedEntryTimestamp")
    signed = canonical_json(document.payload)
    # ECDSA alone signs these; a key of another kind in a policy must not widen that.
    if not any(isinstance(key, EllipticCurvePublicKey) and verifies(key, promise, signed) for key in keys):
        raise PermissionDenied(f"{_WHAT}: not signed by a trusted Rekor key")
    payload = convert(document.payload, _Payload, f"{_WHAT}: Payload")
    body = decode_base64(payload.body, f"{_WHAT}: Payload.body")
    _compare(convert(decode_unique(body, f"{_WHAT}: body"), _Entry, f"{_WHAT}: body").spec, logged)
    return payload.integrated_time


def canonical_json(value: object) -> bytes:
    """RFC 8785 for the strings, integers and objects that occur here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _compare(entry: _Spec, logged: LoggedSignature) -> None:
    signer = decode_base64(entry.signature.public_key.content, f"{_WHAT}: signature.publicKey.content")
    if decode_pem(signer, _WHAT) != decode_pem(logged.signer_pem, "signer"):
        raise PermissionDenied(f"{_WHAT}: it is about another signer")
    if decode_base64(entry.signature.content, f"{_WHAT}: signature.content") != logged.signature:
        raise PermissionDenied(f"{_WHAT}: it is about another signature")
    if entry.data.hash.value != hashlib.sha256(logged.payload).hexdigest():
        raise PermissionDenied(f"{_WHAT}: it is about another payload")
