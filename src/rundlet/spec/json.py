"""JSON in and out of the spec models, with the path of what is wrong.

`decode` is the one place where untyped JSON becomes typed values.
"""

import json as stdlib_json
import re
from typing import Any, TypeVar

import msgspec

from rundlet.errors import InvalidArgument
from rundlet.spec.model import Model, from_json

T = TypeVar("T")

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)


def _rephrase(error: msgspec.DecodeError) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.layers[2].size`" as "layers[2].size: expected …"."""
    found = _WHERE.match(str(error))
    what = found["what"] if found else str(error)
    path = (found["path"] or "") if found else ""
    text = what.replace("`", "").rstrip(".")
    if text[1:2].islower():  # not "JSON is malformed"
        text = text[:1].lower() + text[1:]
    path = path.removeprefix("$").removeprefix(".")
    return f"{path}: {text}" if path else text


def _to_model(kind: type, value: Any) -> Any:
    """The models of `rundlet.spec.runtime`, which are not msgspec's; anything else stays as it is."""
    return from_json(kind, value) if issubclass(kind, Model) else value


def _from_model(value: Any) -> Any:
    if isinstance(value, Model):
        return value.to_json()
    raise NotImplementedError(f"no JSON form of {type(value).__name__}")


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}  # making one costs as much as a small document


def decode(raw: bytes | str, kind: type[T], what: str) -> T:
    """`raw` JSON as a `kind`; `what` names the object in the error.

    Raises InvalidArgument: "<what>: layers[2].digest: expected str, got int".
    """
    try:
        decoder = _decoders.get(kind)
        if decoder is None:
            decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_to_model)
        value: T = decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = _rephrase(error) if isinstance(error, msgspec.DecodeError) else str(error)
        raise InvalidArgument(f"{what}: {reason}") from error
    return value


def decode_unique(raw: bytes, what: str) -> Any:
    """`raw` JSON as plain values; InvalidArgument also for a key that stands twice in one object.

    Which of two equal keys counts differs between readers, so a document that is trusted by
    its digest must not have any.
    """
    try:
        # Bytes would be taken for UTF-16 or with a byte order mark, too; JSON between programs is UTF-8.
        value = stdlib_json.loads(raw.decode(), object_pairs_hook=_to_object, parse_constant=_refuse)
        if _SURROGATE.search(raw):
            encode(value)  # half a pair, which the standard library lets pass, can never be written again
        return value
    except _Twice as error:
        raise InvalidArgument(f"{what}: key {str(error)[:100]!r} stands twice in one object") from None
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what}: {str(error)[:1].lower()}{str(error)[1:]}") from error


class _Twice(Exception):
    """The key that was there already."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return value


def convert(value: Any, kind: type[T], what: str) -> T:
    """Already parsed JSON (dicts, lists) as a `kind`; errors as `decode`."""
    try:
        return msgspec.convert(value, type=kind, dec_hook=_to_model)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{what}: {_rephrase(error)}") from error


def encode(value: Any) -> bytes:
    """Compact JSON of a model or of plain values; equal values give equal bytes."""
    return msgspec.json.encode(value, enc_hook=_from_model)


def encode_pretty(value: Any) -> bytes:
    """JSON for people: two-space indent and a final newline."""
    return msgspec.json.format(encode(value), indent=2) + b"\n"
