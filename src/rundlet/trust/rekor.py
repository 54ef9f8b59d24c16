"""Rekor's word that a signature is in its log, checked without asking it: a promise, or a proof of inclusion.

annotation dev.sigstore.cosign/bundle
{"SignedEntryTimestamp": base64 of an ECDSA signature over the canonical JSON of Payload,
 "Payload": {"body": base64 of ENTRY, "integratedTime": s, "logIndex": n, "logID": hex}}

ENTRY  {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
          "data":      {"hash": {"algorithm": "sha256", "value": hex of the payload's sum}},
          "signature": {"content": base64, "publicKey": {"content": base64 of PEM}}}}

In sigstore's own bundles (`trust.bundle`) the same promise is in other clothes, and the entry is

       {"apiVersion": "0.0.1", "kind": "dsse", "spec": {
          "payloadHash": {"algorithm": "sha256", "value": hex},
          "signatures":  [{"signature": base64, "verifier": base64 of PEM}]}}
or     {"apiVersion": "0.0.2", "kind": "dsse", "spec": {"dsseV002": {
          "payloadHash": {"algorithm": "SHA2_256", "digest": base64},
          "signatures":  [{"content": base64, "verifier": {"publicKey"|"x509Certificate": {"rawBytes": DER}}}]}}}

Logs of the second kind promise nothing and give no time, only proofs.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct, field

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.spec.base64 import decode_base64, encode_base64
from rundlet.spec.json import convert, decode_unique
from rundlet.trust.bundle import LogEntry, Promise, Proof
from rundlet.trust.merkle import find_root, verify_checkpoint
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
    _check_promise(promise, document.payload, keys)
    payload = convert(document.payload, _Payload, f"{_WHAT}: Payload")
    body = decode_base64(payload.body, f"{_WHAT}: Payload.body")
    _compare(convert(decode_unique(body, f"{_WHAT}: body"), _Entry, f"{_WHAT}: body").spec, logged)
    return payload.integrated_time


def _check_promise(promise: bytes, promised: dict[str, Any], keys: Sequence[PublicKey]) -> None:
    signed = canonical_json(promised)
    # ECDSA alone signs these; a key of another kind in a policy must not widen that.
    if not any(isinstance(key, EllipticCurvePublicKey) and verifies(key, promise, signed) for key in keys):
        raise PermissionDenied(f"{_WHAT}: not signed by a trusted Rekor key")


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


# --- entries of sigstore's bundles ---------------------------------------------------


class _EnvelopeSignature(Struct, frozen=True):
    signature: str
    verifier: str


class _EnvelopeSpec(Struct, frozen=True, rename="camel"):
    payload_hash: _Hash
    signatures: tuple[_EnvelopeSignature, ...]


class _EnvelopeEntry(Struct, frozen=True, rename="camel"):
    api_version: Literal["0.0.1"]
    kind: Literal["dsse"]
    spec: _EnvelopeSpec


class _RawBytes(Struct, frozen=True, rename="camel"):
    raw_bytes: str


class _Verifier(Struct, frozen=True, rename="camel"):
    public_key: _RawBytes | None = None
    x509_certificate: _RawBytes | None = None


class _NewSignature(Struct, frozen=True):
    content: str
    verifier: _Verifier


class _NewHash(Struct, frozen=True):
    algorithm: Literal["SHA2_256"]
    digest: str


class _NewBody(Struct, frozen=True, rename="camel"):
    payload_hash: _NewHash
    signatures: tuple[_NewSignature, ...]


class _NewSpec(Struct, frozen=True):
    dsse: _NewBody = field(name="dsseV002")


class _NewEntry(Struct, frozen=True, rename="camel"):
    api_version: Literal["0.0.2"]
    kind: Literal["dsse"]
    spec: _NewSpec


class _Said(NamedTuple):
    """What an entry says: the SHA-256 of a payload, and who signed it how (DER, signature)."""

    sum: bytes
    signatures: tuple[tuple[bytes, bytes], ...]


def verify_entry(entry: LogEntry, keys: Sequence[PublicKey], logged: LoggedSignature) -> int | None:
    """When the log took in `logged`, in Unix seconds, None when it proves only that it has it.

    Both of promise and proof are checked where both are there.  Errors as `verify_bundle`.
    """
    if entry.promise is None and entry.proof is None:
        raise PermissionDenied("Rekor entry: neither promised nor proved")
    if entry.promise:
        _check_promise(entry.promise.signature, _clothe(entry.promise, entry.body), keys)
    if entry.proof:
        _check_proof(entry.proof, entry.body, keys)
    said = _read_envelope_entry(entry.body)
    if said.sum != hashlib.sha256(logged.payload).digest():
        raise PermissionDenied("Rekor entry: it is about another payload")
    if (decode_pem(logged.signer_pem, "signer"), logged.signature) not in said.signatures:
        raise PermissionDenied("Rekor entry: it is about another signer")
    return entry.promise.logged_at_s if entry.promise else None


def _clothe(promise: Promise, body: bytes) -> dict[str, Any]:
    return {
        "body": encode_base64(body),
        "integratedTime": promise.logged_at_s,
        "logID": promise.log_id.hex(),
        "logIndex": promise.log_index,
    }


def _check_proof(proof: Proof, body: bytes, keys: Sequence[PublicKey]) -> None:
    if find_root(body, proof.log_index, proof.tree_size, proof.hashes) != proof.root:
        raise PermissionDenied("inclusion proof: it leads to another root")
    signers = [key for key in keys if isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey)]
    verify_checkpoint(
        proof.checkpoint,
        proof.tree_size,
        proof.root,
        lambda signature, signed: any(verifies(key, signature, signed) for key in signers),
    )


def _read_envelope_entry(body: bytes) -> _Said:
    what = "Rekor entry"
    value = decode_unique(body, what)
    if isinstance(value, dict) and value.get("apiVersion") == "0.0.2":
        new = convert(value, _NewEntry, what).spec.dsse
        return _Said(
            decode_base64(new.payload_hash.digest, what),
            tuple((_read_verifier(one.verifier), decode_base64(one.content, what)) for one in new.signatures),
        )
    old = convert(value, _EnvelopeEntry, what).spec
    return _Said(
        _read_hex(old.payload_hash.value),
        tuple(
            (decode_pem(decode_base64(one.verifier, what), what), decode_base64(one.signature, what))
            for one in old.signatures
        ),
    )


def _read_verifier(verifier: _Verifier) -> bytes:
    found = verifier.x509_certificate or verifier.public_key
    if found is None:
        raise InvalidArgument("Rekor entry: no verifier")
    return decode_base64(found.raw_bytes, "Rekor entry: verifier")


def _read_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidArgument("Rekor entry: payloadHash: not hexadecimal") from error
