"""PEM: one block of base64 between two lines (RFC 7468)."""

import re

from rundlet.errors import InvalidArgument
from rundlet.spec.base64 import decode_base64, encode_base64

_BLOCK = re.compile(rb"\s*-----BEGIN ([A-Z0-9 ]+)-----\r?\n((?:[A-Za-z0-9+/=]+\r?\n)+)-----END \1-----\s*")
_LINE_LENGTH = 64


def decode_pem(raw: bytes, what: str, label: str = "") -> bytes:
    """The content of the only block in `raw`, which has the `label` when one is given.

    Raises InvalidArgument.
    """
    found = _BLOCK.fullmatch(raw)
    if not found or (label and found[1].decode() != label):
        raise InvalidArgument(f"{what}: not one PEM block{f' of {label}' if label else ''}")
    return decode_base64(found[2], what)


def encode_pem(content: bytes, label: str) -> bytes:
    text = encode_base64(content)
    lines = [text[start : start + _LINE_LENGTH] for start in range(0, len(text), _LINE_LENGTH)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()
