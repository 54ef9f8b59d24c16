"""Sigstore bundles: a signature, who made it and what logs say of it, in one document (protobuf's JSON).

{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
 "verificationMaterial": {
   "certificate": {"rawBytes": DER}                       or "publicKey": {"hint": …},
                                                          or "x509CertificateChain": {"certificates": [{"rawBytes": DER}]}
   "tlogEntries": [{
     "logIndex": "7", "logId": {"keyId": …}, "kindVersion": {"kind": "dsse", "version": "0.0.1"},
     "integratedTime": "1700000000",
     "inclusionPromise": {"signedEntryTimestamp": …},
     "inclusionProof": {"logIndex": "5", "treeSize": "9", "rootHash": …, "hashes": […],
                        "checkpoint": {"envelope": text}},
     "canonicalizedBody": …}]},
 "dsseEnvelope": {"payloadType": "application/vnd.in-toto+json", "payload": …, "signatures": [{"sig": …}]}}

… and DER stand for base64.  A bundle with a `messageSignature` instead of the envelope signs bytes, and
says nothing of an image.  Nothing here is verified; `trust.sigstore` does that.
"""

from typing import NamedTuple

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.spec.base64 import decode_base64
from rundlet.spec.json import convert, decode_unique
from rundlet.spec.statement import STATEMENT_TYPE
from rundlet.trust.pem import encode_pem

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_FAMILY = "application/vnd.dev.sigstore.bundle"
_WHAT = "sigstore bundle"


def is_bundle(media_type: str) -> bool:
    """Whether a media type is that of bundles, in any version."""
    return media_type.startswith((f"{_FAMILY}.", f"{_FAMILY}+"))


class Promise(NamedTuple):
    """What the log signed about an entry when it took it in, at `logged_at_s` (Unix time)."""

    signature: bytes
    logged_at_s: int
    log_index: int
    log_id: bytes


class Proof(NamedTuple):
    """The way from an entry to the root of the log's tree, and the log's signed word on that root."""

    log_index: int
    tree_size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str


class LogEntry(NamedTuple):
    """One entry of a transparency log; `body` are the bytes that the log keeps."""

    body: bytes
    promise: Promise | None
    proof: Proof | None


class Bundle(NamedTuple):
    """`payload` of `payload_type` is what is said; `certificates` are PEM, the signer's first, none for a bare key."""

    payload: bytes
    payload_type: str
    signature: bytes
    certificates: tuple[bytes, ...]
    entries: tuple[LogEntry, ...]

    @property
    def signed(self) -> bytes:
        """The bytes under the signature: DSSE's pre-authentication encoding."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


# --- the document ------------------------------------------------------------------


class _Model(Struct, frozen=True, rename="camel"):
    pass


class _Certificate(_Model, frozen=True):
    raw_bytes: str


class _Chain(_Model, frozen=True):
    certificates: tuple[_Certificate, ...] = ()


class _Checkpoint(_Model, frozen=True):
    envelope: str = ""


class _Promise(_Model, frozen=True):
    signed_entry_timestamp: str


class _Proof(_Model, frozen=True):
    root_hash: str
    checkpoint: _Checkpoint
    tree_size: str
    log_index: str = "0"  # protobuf leaves out what is zero
    hashes: tuple[str, ...] = ()


class _LogId(_Model, frozen=True):
    key_id: str


class _Entry(_Model, frozen=True):
    canonicalized_body: str
    log_id: _LogId
    log_index: str = "0"
    integrated_time: str = "0"
    inclusion_promise: _Promise | None = None
    inclusion_proof: _Proof | None = None


class _Material(_Model, frozen=True):
    certificate: _Certificate | None = None
    x509_certificate_chain: _Chain | None = None
    tlog_entries: tuple[_Entry, ...] = ()


class _Signature(_Model, frozen=True):
    sig: str


class _Envelope(_Model, frozen=True):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Document(_Model, frozen=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope | None = None


def parse_bundle(raw: bytes) -> Bundle:
    """InvalidArgument for anything but a bundle of one signed statement."""
    document = convert(decode_unique(raw, _WHAT), _Document, _WHAT)
    if not is_bundle(document.media_type):
        raise InvalidArgument(f"{_WHAT}: mediaType: got {document.media_type!r}")
    envelope = document.dsse_envelope
    if envelope is None:
        raise InvalidArgument(f"{_WHAT}: it signs bytes, not a statement about an image")
    if envelope.payload_type != STATEMENT_TYPE:
        raise InvalidArgument(
            f"{_WHAT}: payloadType: expected {STATEMENT_TYPE}, got {envelope.payload_type!r}"
        )
    if len(envelope.signatures) != 1:
        raise InvalidArgument(f"{_WHAT}: expected one signature, got {len(envelope.signatures)}")
    material = document.verification_material
    return Bundle(
        _bytes(envelope.payload, "payload"),
        envelope.payload_type,
        _bytes(envelope.signatures[0].sig, "sig"),
        tuple(
            encode_pem(_bytes(one.raw_bytes, "rawBytes"), "CERTIFICATE")
            for one in _list_certificates(material)
        ),
        tuple(_read_entry(entry) for entry in material.tlog_entries),
    )


def _list_certificates(material: _Material) -> tuple[_Certificate, ...]:
    if material.certificate:
        return (material.certificate,)
    return material.x509_certificate_chain.certificates if material.x509_certificate_chain else ()


def _read_entry(entry: _Entry) -> LogEntry:
    return LogEntry(
        _bytes(entry.canonicalized_body, "canonicalizedBody"),
        _read_promise(entry, entry.inclusion_promise) if entry.inclusion_promise else None,
        _read_proof(entry.inclusion_proof) if entry.inclusion_proof else None,
    )


def _read_promise(entry: _Entry, promise: _Promise) -> Promise:
    return Promise(
        _bytes(promise.signed_entry_timestamp, "signedEntryTimestamp"),
        _number(entry.integrated_time, "integratedTime"),
        _number(entry.log_index, "logIndex"),
        _bytes(entry.log_id.key_id, "keyId"),
    )


def _read_proof(proof: _Proof) -> Proof:
    return Proof(
        _number(proof.log_index, "logIndex"),
        _number(proof.tree_size, "treeSize"),
        _bytes(proof.root_hash, "rootHash"),
        tuple(_bytes(one, "hashes") for one in proof.hashes),
        proof.checkpoint.envelope,
    )


def _bytes(text: str, where: str) -> bytes:
    return decode_base64(text, f"{_WHAT}: {where}")


def _number(text: str, where: str) -> int:
    """protobuf writes 64-bit numbers as text."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidArgument(f"{_WHAT}: {where}: not a number")
    return int(text)
