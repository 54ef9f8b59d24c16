"""JSON Web Encryption as ocicrypt uses it (RFC 7516, 7.2): one small secret for several recipients.

    {"protected": b64({"enc": "A256GCM"}),            authenticated, not secret
     "recipients": [{"header": {"alg": …, "epk": …}, "encrypted_key": b64}, …],
     "iv": b64, "ciphertext": b64, "tag": b64}

With one recipient its members stand beside the others and its header inside `protected`.
Key wrapping: RSA-OAEP, RSA-OAEP-256, ECDH-ES+A256KW; content: A256GCM.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.spec import json

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_CONTENT: Final = "A256GCM"
_KEY_BYTES: Final = 32
_ECDH: Final = "ECDH-ES+A256KW"
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_CURVE_NAMES: Final = {curve.name: name for name, curve in _CURVES.items()}


def encrypt(secret: bytes, recipients: Sequence[PublicKey]) -> bytes:
    """`secret` as a JWE that each of `recipients` can open."""
    key, iv = os.urandom(_KEY_BYTES), os.urandom(12)
    wrapped = [_wrap(key, recipient) for recipient in recipients]
    head: dict[str, Any] = {"enc": _CONTENT}
    if len(wrapped) == 1:
        head |= wrapped[0][0]
        places: dict[str, Any] = {"encrypted_key": _encode(wrapped[0][1])}
    else:
        places = {"recipients": [{"header": each, "encrypted_key": _encode(blob)} for each, blob in wrapped]}
    protected = _encode(json.encode(head))
    sealed = AESGCM(key).encrypt(iv, secret, protected.encode())
    content = {"iv": _encode(iv), "ciphertext": _encode(sealed[:-16]), "tag": _encode(sealed[-16:])}
    return json.encode({"protected": protected, **places, **content})


def decrypt(raw: bytes, keys: Sequence[PrivateKey], what: str) -> bytes:
    """The secret; PermissionDenied when none of `keys` opens it, InvalidArgument when it is malformed."""
    try:
        value = json.decode(raw, dict[str, Any], what)
        protected = json.decode(_decode(value["protected"]), dict[str, Any], what)
        recipients = value.get("recipients") or [value]
        sealed = _decode(value["ciphertext"]) + _decode(value["tag"])
        iv, bound = _decode(value["iv"]), value["protected"].encode()
        if "aad" in value:
            bound += b"." + value["aad"].encode()
        if protected.get("enc") != _CONTENT:
            raise InvalidArgument(f"{what}: content encryption {protected.get('enc')!r} is not supported")
        for recipient in recipients:
            head = {**protected, **(value.get("unprotected") or {}), **(recipient.get("header") or {})}
            blob = _decode(recipient["encrypted_key"])
            for key in keys:
                secret = _open(head, blob, key, iv, sealed, bound)
                if secret is not None:
                    return secret
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InvalidArgument(f"{what}: malformed JWE") from error
    raise PermissionDenied(f"{what}: none of the decryption keys fits")


def _open(
    head: dict[str, Any], blob: bytes, key: PrivateKey, iv: bytes, sealed: bytes, bound: bytes
) -> bytes | None:
    """The secret when `key` is this recipient's, else None."""
    try:
        content_key = _unwrap(head, blob, key)
        return None if content_key is None else AESGCM(content_key).decrypt(iv, sealed, bound)
    except (InvalidTag, InvalidUnwrap, ValueError):
        return None


def _wrap(key: bytes, recipient: PublicKey) -> tuple[dict[str, Any], bytes]:
    """(header, wrapped key) of one recipient."""
    if isinstance(recipient, rsa.RSAPublicKey):
        return {"alg": "RSA-OAEP"}, recipient.encrypt(key, _oaep("RSA-OAEP"))
    fresh = ec.generate_private_key(recipient.curve)
    header = {"alg": _ECDH, "epk": _to_jwk(fresh.public_key())}
    return header, aes_key_wrap(_derive(fresh.exchange(ec.ECDH(), recipient), header), key)


def _unwrap(head: dict[str, Any], blob: bytes, key: PrivateKey) -> bytes | None:
    algorithm = head.get("alg", "")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.decrypt(blob, _oaep(algorithm)) if algorithm in ("RSA-OAEP", "RSA-OAEP-256") else None
    if algorithm != _ECDH:
        return None
    shared = key.exchange(ec.ECDH(), _from_jwk(head["epk"]))
    return aes_key_unwrap(_derive(shared, head), blob)


def _oaep(algorithm: str) -> padding.OAEP:
    digest = hashes.SHA256() if algorithm == "RSA-OAEP-256" else hashes.SHA1()  # noqa: S303 - RFC 7518, 4.3
    return padding.OAEP(padding.MGF1(digest), digest, None)


def _derive(shared: bytes, head: dict[str, Any]) -> bytes:
    """The key that wraps the key (RFC 7518, 4.6.2)."""
    parts = (_ECDH.encode(), _decode(head.get("apu", "")), _decode(head.get("apv", "")))
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    info += (8 * _KEY_BYTES).to_bytes(4, "big")
    return ConcatKDFHash(hashes.SHA256(), _KEY_BYTES, info).derive(shared)


def _to_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    if key.curve.name not in _CURVE_NAMES:
        raise InvalidArgument(f"encryption key: curve {key.curve.name} is not one of {', '.join(_CURVES)}")
    size = (key.curve.key_size + 7) // 8
    numbers = key.public_numbers()
    x, y = (_encode(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": _CURVE_NAMES[key.curve.name], "x": x, "y": y}


def _from_jwk(value: dict[str, str]) -> ec.EllipticCurvePublicKey:
    x, y = (int.from_bytes(_decode(value[part]), "big") for part in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, _CURVES[value["crv"]]).public_key()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
