"""Base64 as Go reads it: standard alphabet, padded, line ends ignored (RFC 4648)."""

import base64
import binascii

from rundlet.errors import InvalidArgument


def decode_base64(text: str | bytes, what: str) -> bytes:
    """InvalidArgument "WHAT: not base64", without the text: it may be a secret."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        return base64.b64decode(raw.replace(b"\r", b"").replace(b"\n", b""), validate=True)
    except binascii.Error as error:
        raise InvalidArgument(f"{what}: not base64") from error


def encode_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
