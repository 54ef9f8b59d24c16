"""D-Bus messages and their values: bytes in, bytes out, no sockets.

Source: D-Bus Specification 0.38, "Message Protocol" and "Type System".

    byte    order ('l' or 'B')  kind  flags  version (1)
    u32     body length, serial
    a(yv)   header fields: 1 path o, 2 interface s, 3 member s, 4 error name s, 5 reply serial u,
            6 destination s, 7 sender s, 8 signature g
            zeros up to a multiple of 8
    body    values as the signature field says

Values are aligned to their own size, counted from the start of the message; an
array is preceded by its length in bytes, a variant by its signature.  In Python
they are int, bool, float, str, list (array), tuple (struct), dict (array of dict
entries) and Variant; UNIX_FD ("h") is an index here, and not used.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4

_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_SIZES = {code: struct.calcsize(form) for code, form in _FIXED.items()}
_ALIGNMENTS = {**_SIZES, "s": 4, "o": 4, "g": 1, "a": 4, "v": 1, "(": 8, "{": 8}
_FIELDS = ("path", "interface", "member", "error_name", "reply_serial", "destination", "sender", "signature")
_FIELD_TYPES = "osssussg"
_FIXED_HEADER = 16  # up to and with the length of the header fields
_LONGEST_MESSAGE = 1 << 27
_LONGEST_ARRAY = 1 << 26
_DEEPEST = 32


class Malformed(ValueError):
    """Bytes that are no D-Bus message, or a value that is not of its type."""


class Variant(NamedTuple):
    """A value that carries its type."""

    signature: str
    value: Any


class Message(NamedTuple):
    """One message; `body` are the values of `signature`, `flags` as in the specification (1: no reply)."""

    kind: int
    serial: int
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    body: tuple[Any, ...] = ()
    flags: int = 0


# -- signatures ------------------------------------------------------------------


def split_signature(signature: str) -> list[str]:
    """The single complete types: "sa(sv)u" is s, a(sv) and u."""
    types, at = [], 0
    while at < len(signature):
        end = _end_of_type(signature, at, 0)
        types.append(signature[at:end])
        at = end
    return types


def _end_of_type(signature: str, at: int, depth: int) -> int:
    if at >= len(signature) or depth > _DEEPEST:
        raise Malformed(f"signature {signature!r} ends too early or nests too deep")
    code = signature[at]
    if code == "a":
        return _end_of_type(signature, at + 1, depth + 1)
    if code in "({":
        return _end_of_parts(signature, at, depth + 1)
    if code not in _ALIGNMENTS:
        raise Malformed(f"signature {signature!r}: unknown type {code!r}")
    return at + 1


def _end_of_parts(signature: str, at: int, depth: int) -> int:
    """A struct has parts, a dict entry a key of a basic type and a value."""
    closing = ")" if signature[at] == "(" else "}"
    starts: list[int] = []
    at += 1
    while signature[at : at + 1] != closing:
        starts.append(at)
        at = _end_of_type(signature, at, depth)
    if not starts or (closing == "}" and (len(starts) != 2 or signature[starts[0]] in "a({v")):
        raise Malformed(f"signature {signature!r}: a struct without parts, or no dict entry")
    return at + 1


# -- writing ---------------------------------------------------------------------


def marshal(signature: str, values: Sequence[Any]) -> bytes:
    """`values` of the types in `signature`, little endian, as a body starts."""
    out = bytearray()
    types = split_signature(signature)
    if len(types) != len(values):
        raise Malformed(f"{len(values)} values for signature {signature!r}")
    for kind, value in zip(types, values, strict=True):
        _put(out, kind, value)
    return bytes(out)


def _pad(out: bytearray, alignment: int) -> None:
    out.extend(bytes(-len(out) % alignment))


def _put(out: bytearray, kind: str, value: Any) -> None:
    code = kind[0]
    _pad(out, _ALIGNMENTS[code])
    if code in _FIXED:
        _put_fixed(out, code, value)
    elif code in "sog":
        _put_text(out, code, value)
    elif code == "v":
        _put(out, "g", value.signature)
        _put(out, value.signature, value.value)
    elif code == "a":
        _put_array(out, kind[1:], value)
    else:
        for part, item in zip(split_signature(kind[1:-1]), value, strict=True):
            _put(out, part, item)


def _put_fixed(out: bytearray, code: str, value: Any) -> None:
    try:
        out.extend(struct.pack(f"<{_FIXED[code]}", value))
    except struct.error as error:
        raise Malformed(f"{value!r} is no value of type {code!r}") from error


def _put_text(out: bytearray, code: str, value: str) -> None:
    raw = value.encode()
    if b"\0" in raw:
        raise Malformed(f"a null byte in {value!r}")
    out.extend(len(raw).to_bytes(1 if code == "g" else 4, "little"))
    out.extend(raw + b"\0")


def _put_array(out: bytearray, kind: str, value: Any) -> None:
    length_at = len(out)
    out.extend(bytes(4))
    _pad(out, _ALIGNMENTS[kind[0]])
    start = len(out)
    for item in value.items() if isinstance(value, dict) else value:
        _put(out, kind, item)
    struct.pack_into("<I", out, length_at, len(out) - start)


# -- reading ---------------------------------------------------------------------


def unmarshal(signature: str, data: bytes, *, order: str = "<") -> tuple[Any, ...]:
    """The values of a body; raises Malformed."""
    reader = _Reader(data, order)
    try:
        return tuple(reader.take(kind, 0) for kind in split_signature(signature))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise Malformed(f"a body that is not {signature!r}") from error


class _Reader:
    __slots__ = ("at", "data", "order")

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order
        self.at = 0

    def take(self, kind: str, depth: int) -> Any:
        code = kind[0]
        self.at += -self.at % _ALIGNMENTS[code]
        if code in _FIXED:
            return self._take_fixed(code)
        if code in "sog":
            return self._take_text(1 if code == "g" else 4)
        if depth > _DEEPEST:
            raise Malformed("values nest too deep")
        if code == "a":
            return self._take_array(kind[1:], depth + 1)
        if code == "v":
            return self._take_variant(depth + 1)
        return tuple(self.take(part, depth + 1) for part in split_signature(kind[1:-1]))

    def _take_fixed(self, code: str) -> Any:
        (value,) = struct.unpack_from(self.order + _FIXED[code], self.data, self.at)
        self.at += _SIZES[code]
        return bool(value) if code == "b" else value

    def _take_text(self, length_bytes: int) -> str:
        length = self._take_fixed("y" if length_bytes == 1 else "u")
        end = self.at + length
        if end >= len(self.data) or self.data[end]:
            raise Malformed("a string without its end")
        text = self.data[self.at : end].decode()
        self.at = end + 1
        return text

    def _take_array(self, kind: str, depth: int) -> Any:
        length = self._take_fixed("u")
        self.at += -self.at % _ALIGNMENTS[kind[0]]
        end = self.at + length
        if length > _LONGEST_ARRAY or end > len(self.data):
            raise Malformed("an array longer than its message")
        items = []
        while self.at < end:
            items.append(self.take(kind, depth))
        if self.at != end:
            raise Malformed("an array that ends inside an item")
        return dict(items) if kind[0] == "{" else items

    def _take_variant(self, depth: int) -> Variant:
        signature = self._take_text(1)
        if len(split_signature(signature)) != 1:
            raise Malformed(f"a variant of {signature!r}")
        return Variant(signature, self.take(signature, depth))


# -- messages --------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """The message as it goes over the wire."""
    body = marshal(message.signature, message.body)
    fields = [
        (number, Variant(kind, getattr(message, name)))
        for number, (name, kind) in enumerate(zip(_FIELDS, _FIELD_TYPES, strict=True), 1)
        if getattr(message, name)
    ]
    head = marshal(
        "yyyyuua(yv)", (ord("l"), message.kind, message.flags, 1, len(body), message.serial, fields)
    )
    return head + bytes(-len(head) % 8) + body


def message_length(data: bytes | bytearray) -> int:
    """How many bytes the message has that `data` begins, 0 while that cannot be told; raises Malformed."""
    if len(data) < _FIXED_HEADER:
        return 0
    order = _order(data)
    body, _, fields = struct.unpack_from(f"{order}III", data, 4)
    length: int = _FIXED_HEADER + fields + -fields % 8 + body
    if data[3] != 1 or length > _LONGEST_MESSAGE:
        raise Malformed(f"a message of version {data[3]} and {length} bytes")
    return length


def _order(data: bytes | bytearray) -> str:
    try:
        return {ord("l"): "<", ord("B"): ">"}[data[0]]
    except KeyError:
        raise Malformed(f"byte order {data[0]:#x}") from None


def decode_message(data: bytes) -> Message:
    """The one message that `data` is; header fields that nobody knows are skipped."""
    order = _order(data)
    _, kind, flags, _, length, serial, fields = unmarshal("yyyyuua(yv)", data, order=order)
    known = {}
    for number, variant in fields:
        if 0 < number <= len(_FIELDS):
            if variant.signature != _FIELD_TYPES[number - 1]:
                raise Malformed(f"header field {number} is of type {variant.signature!r}")
            known[_FIELDS[number - 1]] = variant.value
    body = unmarshal(known.get("signature", ""), data[len(data) - length :], order=order)
    return Message(kind=kind, serial=serial, flags=flags, body=body, **known)
