"""cosign's private keys: sealed with a passphrase, as `cosign generate-key-pair` writes them.

-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----      newer versions say SIGSTORE
{"kdf":    {"name": "scrypt", "params": {"N": 65536, "r": 8, "p": 1}, "salt": base64},
 "cipher": {"name": "nacl/secretbox", "nonce": base64},
 "ciphertext": base64 of the sealed PKCS #8 key}
-----END …
"""

import hashlib
import os
from typing import Final, Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from msgspec import Struct
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.spec.base64 import decode_base64, encode_base64
from rundlet.spec.json import decode, encode
from rundlet.trust.pem import decode_pem, encode_pem
from rundlet.trust.publickey import encode_public_key

PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey

_LABELS: Final = ("ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY")
_SALT_SIZE: Final = 32
_NONCE_SIZE: Final = 24
_KEY_SIZE: Final = 32
# A file may ask for less or more, but not for all of this machine's memory.
_MEMORY_MAX: Final = 1 << 30


class KeyPair(NamedTuple):
    """Two PEM files: the sealed private key, the public key."""

    private: bytes
    public: bytes


class _Params(Struct, frozen=True):
    N: int = 65536
    r: int = 8
    p: int = 1


class _Kdf(Struct, frozen=True):
    salt: str
    name: Literal["scrypt"] = "scrypt"
    params: _Params = _Params()


class _Cipher(Struct, frozen=True):
    nonce: str
    name: Literal["nacl/secretbox"] = "nacl/secretbox"


class _Sealed(Struct, frozen=True):
    kdf: _Kdf
    cipher: _Cipher
    ciphertext: str


def generate_key_pair(passphrase: str) -> KeyPair:
    """A fresh ECDSA P-256 key, sealed with `passphrase`."""
    key = generate_private_key(SECP256R1())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(seal(plain, passphrase), encode_public_key(key.public_key()))


def seal(plain: bytes, passphrase: str) -> bytes:
    """A PKCS #8 key in DER as a PEM file that only the passphrase opens."""
    salt, nonce = os.urandom(_SALT_SIZE), os.urandom(_NONCE_SIZE)
    params = _Params()
    ciphertext = SecretBox(_derive(passphrase, salt, params)).encrypt(plain, nonce).ciphertext
    sealed = _Sealed(
        _Kdf(encode_base64(salt), params=params), _Cipher(encode_base64(nonce)), encode_base64(ciphertext)
    )
    return encode_pem(encode(sealed), _LABELS[0])


def open_private_key(pem: bytes, passphrase: str, what: str) -> PrivateKey:
    """The key in a sealed PEM file; PermissionDenied for a wrong passphrase, InvalidArgument if malformed."""
    if not any(label.encode() in pem for label in _LABELS):
        raise InvalidArgument(f"{what}: not a private key of cosign's format")
    sealed = decode(decode_pem(pem, what), _Sealed, what)
    key = _derive(passphrase, decode_base64(sealed.kdf.salt, f"{what}: salt"), sealed.kdf.params)
    nonce = decode_base64(sealed.cipher.nonce, f"{what}: nonce")
    ciphertext = decode_base64(sealed.ciphertext, f"{what}: ciphertext")
    try:
        plain = SecretBox(key).decrypt(ciphertext, nonce)
    except (CryptoError, ValueError, TypeError) as error:
        raise PermissionDenied(f"{what}: the passphrase is wrong, or the file was altered") from error
    try:
        found = load_der_private_key(plain, None)
    except ValueError as error:
        raise InvalidArgument(f"{what}: no private key inside") from error
    if not isinstance(found, EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey):
        raise InvalidArgument(f"{what}: {type(found).__name__} is of no use here")
    return found


def sign_bytes(key: PrivateKey, message: bytes) -> bytes:
    """What `publickey.verifies` accepts."""
    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(message, ECDSA(SHA256()))
    if isinstance(key, RSAPrivateKey):
        return key.sign(message, PKCS1v15(), SHA256())
    return key.sign(message)


def _derive(passphrase: str, salt: bytes, params: _Params) -> bytes:
    memory = 128 * params.r * (params.N + params.p + 2)
    if memory > _MEMORY_MAX:
        raise InvalidArgument(f"sealed key: scrypt would take {memory} bytes of memory")
    try:
        return hashlib.scrypt(
            passphrase.encode(),
            salt=salt,
            n=params.N,
            r=params.r,
            p=params.p,
            maxmem=_MEMORY_MAX,
            dklen=_KEY_SIZE,
        )
    except ValueError as error:
        raise InvalidArgument(f"sealed key: {error}") from error
