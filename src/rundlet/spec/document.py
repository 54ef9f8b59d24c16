"""Documents that Go programs write: there a null means the same as no value.

encoding/json gives `null` for an empty slice or map and leaves a field at its
zero value when it reads `null` back, so images in the wild are full of
`"Env": null`.  The models need no `| None` for that.
"""

from typing import Any, TypeVar

from rundlet.spec import json

T = TypeVar("T")

# Deeper than any model here; what lies below is an opaque value.
_DEPTH = 8


def parse_document(raw: bytes | str, kind: type[T], what: str) -> T:
    """`raw` JSON as a `kind`, null members as absent ones; InvalidArgument as `json.decode`."""
    return json.convert(drop_nulls(json.decode(raw, object, what)), kind, what)


def drop_nulls(value: Any, depth: int = _DEPTH) -> Any:
    """`value` without the object members that are null, at any level down to `depth`."""
    if depth == 0:
        return value
    if isinstance(value, dict):
        return {key: drop_nulls(item, depth - 1) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [drop_nulls(item, depth - 1) for item in value]
    return value
