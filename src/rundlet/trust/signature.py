"""Signatures as bytes: what lies in `dir:` images and in lookaside storage.

    simple signing    the OpenPGP message itself
    sigstore          a zero byte, "sigstore-json", a line end, and
                      {"mimeType": …, "payload": base64, "annotations": {…}}

In an OpenPGP message the first byte has its highest bit set, so the two cannot be mixed up.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.spec.base64 import decode_base64, encode_base64
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode

COSIGN_MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
CERTIFICATE_ANNOTATION = "dev.sigstore.cosign/certificate"
CHAIN_ANNOTATION = "dev.sigstore.cosign/chain"
BUNDLE_ANNOTATION = "dev.sigstore.cosign/bundle"
_SIMPLE_FORMAT = b"simple-signing"
_SIGSTORE_FORMAT = b"sigstore-json"


class SimpleSignature(NamedTuple):
    """An OpenPGP signed message whose content is a claim."""

    message: bytes


class SigstoreSignature(NamedTuple):
    """A claim (`payload`) and what vouches for it, by annotation; nothing of it is verified."""

    media_type: str
    payload: bytes
    annotations: Mapping[str, str]


Signature = SimpleSignature | SigstoreSignature


class _SigstoreJson(Struct, frozen=True, rename="camel"):
    mime_type: str = ""
    payload: str = ""
    annotations: dict[str, str] = {}


def decode_signature(raw: bytes, what: str = "signature") -> Signature:
    """InvalidArgument for a format that we do not know."""
    if not raw:
        raise InvalidArgument(f"{what}: empty")
    if raw[0] & 0x80:
        return SimpleSignature(raw)
    kind, newline, content = raw[1:].partition(b"\n")
    if raw[0] == 0 and newline and kind == _SIMPLE_FORMAT:
        return SimpleSignature(content)
    if raw[0] == 0 and newline and kind == _SIGSTORE_FORMAT:
        return _decode_sigstore(content, what)
    raise InvalidArgument(f"{what}: neither an OpenPGP message nor a sigstore signature")


def _decode_sigstore(content: bytes, what: str) -> SigstoreSignature:
    document = parse_document(content, _SigstoreJson, what)
    payload = decode_base64(document.payload, f"{what}: payload")
    return SigstoreSignature(document.mime_type, payload, document.annotations)


def encode_signature(signature: Signature) -> bytes:
    """The inverse of `decode_signature`."""
    if isinstance(signature, SimpleSignature):
        return signature.message
    document = _SigstoreJson(
        signature.media_type, encode_base64(signature.payload), dict(signature.annotations)
    )
    return b"\0" + _SIGSTORE_FORMAT + b"\n" + encode(document)
