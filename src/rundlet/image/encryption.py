"""Encrypted layers (ocicrypt): AES-256 in counter mode, authenticated by HMAC-SHA256.

    media type    <layer's own>+encrypted
    annotations   org.opencontainers.image.enc.keys.jwe   base64(JWE of P), several joined by ","
                  org.opencontainers.image.enc.pubopts    base64({"cipher": …, "hmac": base64, "cipheroptions": {}})
    P             {"symkey": base64, "digest": that of the plain layer, "cipheroptions": {"nonce": base64}}

The HMAC is over the encrypted bytes, with the same key.
"""

import base64
import hmac
import os
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Struct

from rundlet.errors import DataLoss, InvalidArgument, PermissionDenied, Unimplemented
from rundlet.image import jwe
from rundlet.image.files import read_document
from rundlet.image.transport import Chunks
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode

KEYS: Final = "org.opencontainers.image.enc.keys."
_JWE: Final = f"{KEYS}jwe"
_PUBLIC: Final = "org.opencontainers.image.enc.pubopts"
_CIPHER: Final = "AES_256_CTR_HMAC_SHA256"
_PEM: Final = b"-----BEGIN"


class _Public(Struct, frozen=True):
    cipher: str
    hmac: str


class _Options(Struct, frozen=True):
    nonce: str


class _Private(Struct, frozen=True):
    symkey: str
    digest: str
    cipheroptions: _Options


class Opened(NamedTuple):
    """What opens one encrypted layer; `digest` is that of the layer inside."""

    key: bytes
    nonce: bytes
    tag: bytes
    digest: str


def open_layer(annotations: Mapping[str, str], keys: Sequence[jwe.PrivateKey], what: str) -> Opened:
    """The layer's secrets.

    Raises PermissionDenied when no key fits, Unimplemented when it was not encrypted for JWE
    keys, InvalidArgument for malformed annotations.
    """
    if _JWE not in annotations:
        kinds = ", ".join(sorted(key.removeprefix(KEYS) for key in annotations if key.startswith(KEYS)))
        raise Unimplemented(f"{what}: encrypted for {kinds or 'nobody'}", hint="rundlet opens JWE keys")
    public = parse_document(_decode(annotations.get(_PUBLIC, ""), what), _Public, f"{what}: pubopts")
    if public.cipher != _CIPHER:
        raise Unimplemented(f"{what}: cipher {public.cipher!r} is not supported")
    private = parse_document(_unwrap(annotations[_JWE], keys, what), _Private, f"{what}: its secrets")
    return Opened(
        _decode(private.symkey, what),
        _decode(private.cipheroptions.nonce, what),
        _decode(public.hmac, what),
        private.digest,
    )


def _unwrap(annotation: str, keys: Sequence[jwe.PrivateKey], what: str) -> bytes:
    failure = PermissionDenied(f"{what}: it is encrypted", hint="give its key with --decryption-key")
    for part in annotation.split(",") if keys else ():
        try:
            return jwe.decrypt(_decode(part, what), keys, what)
        except PermissionDenied as error:
            failure = error
    raise failure


def decrypt(chunks: Chunks, opened: Opened, what: str) -> Chunks:
    """The plain layer; DataLoss at its end when somebody changed the encrypted bytes."""
    cipher = Cipher(algorithms.AES(opened.key), modes.CTR(opened.nonce)).decryptor()
    seal = hmac.new(opened.key, digestmod="sha256")
    for chunk in chunks:
        seal.update(chunk)
        yield cipher.update(chunk)
    yield cipher.finalize()
    if not hmac.compare_digest(seal.digest(), opened.tag):
        raise DataLoss(f"{what}: the encrypted layer is not what was encrypted")


class Sealing:
    """The encryption of one layer; `annotations` are known when all of it has passed."""

    def __init__(self, recipients: Sequence[jwe.PublicKey]) -> None:
        self._recipients = recipients
        self._key, self._nonce = os.urandom(32), os.urandom(16)
        self._seal = hmac.new(self._key, digestmod="sha256")

    def encrypt(self, chunks: Chunks) -> Chunks:
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(self._nonce)).encryptor()
        self._seal = hmac.new(self._key, digestmod="sha256")
        for chunk in chunks:
            data = cipher.update(chunk)
            self._seal.update(data)
            yield data

    def annotations(self, plain_digest: str) -> dict[str, str]:
        """What tells the recipients how to open the layer."""
        options = {"nonce": _encode(self._nonce)}
        private = {"symkey": _encode(self._key), "digest": plain_digest, "cipheroptions": options}
        public = {"cipher": _CIPHER, "hmac": _encode(self._seal.digest()), "cipheroptions": {}}
        return {
            _JWE: _encode(jwe.encrypt(encode(private), self._recipients)),
            _PUBLIC: _encode(encode(public)),
        }


def strip_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Without those of the encryption."""
    return {key: value for key, value in annotations.items() if key != _PUBLIC and not key.startswith(KEYS)}


# --- keys from files ---------------------------------------------------------


def load_recipient(text: str) -> jwe.PublicKey:
    """ "jwe:PATH" (a public key or certificate, PEM or DER) as a key to encrypt for."""
    protocol, colon, path = text.partition(":")
    if not colon or protocol != "jwe":
        raise Unimplemented(f"encryption key {text!r}: only jwe:PATH is supported")
    data = read_document(path, f"encryption key {path}")
    try:
        key = _load_public(data)
    except ValueError as error:
        raise InvalidArgument(f"encryption key {path}: neither a public key nor a certificate") from error
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise InvalidArgument(f"encryption key {path}: expected an RSA or an elliptic curve key")
    return key


def _load_public(data: bytes) -> object:
    if b"BEGIN CERTIFICATE" in data:
        return x509.load_pem_x509_certificate(data).public_key()
    if data.startswith(_PEM):
        return load_pem_public_key(data)
    try:
        return load_der_public_key(data)
    except ValueError:
        return x509.load_der_x509_certificate(data).public_key()


def load_private(text: str) -> jwe.PrivateKey:
    """ "PATH[:PASSWORD]", "PATH:pass=…" or "PATH:file=…" as a key to decrypt with."""
    path, _, secret = text.partition(":")
    data = read_document(path, f"decryption key {path}")
    password = _find_password(secret)
    try:
        load = load_pem_private_key if data.startswith(_PEM) else load_der_private_key
        key = load(data, password)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"decryption key {path}: no private key, or not its password") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise InvalidArgument(f"decryption key {path}: expected an RSA or an elliptic curve key")
    return key


def _find_password(secret: str) -> bytes | None:
    kind, equals, value = secret.partition("=")
    if equals and kind == "file":
        return read_document(value, "password file").rstrip(b"\n")
    return (value if equals and kind == "pass" else secret).encode() or None


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidArgument(f"{what}: malformed base64 in its annotations") from error
