"""Fields of a document that its model does not have, by their paths."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

# Of every object, and of no meaning here.
_PASSED_OVER = {"apiVersion", "kind", "status", "metadata.creationTimestamp", "metadata.resourceVersion"}


def list_unknown(value: Any, kind: type[msgspec.Struct]) -> list[str]:
    """As "spec.containers[0].lifecycle", in the order in which they stand there."""
    return [path for path in _walk(value, inspect.type_info(kind), "") if path not in _PASSED_OVER]


def _walk(value: Any, model: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(model, inspect.UnionType):
        model = next((one for one in model.types if isinstance(one, inspect.StructType)), model)
    if isinstance(model, inspect.StructType) and isinstance(value, dict):
        known = _list_fields(model.cls)
        for key, item in value.items():
            below = f"{path}.{key}" if path else str(key)
            if key in known:
                yield from _walk(item, known[key], below)
            else:
                yield below
    elif isinstance(model, inspect.VarTupleType) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, model.item_type, f"{path}[{number}]")


@lru_cache
def _list_fields(kind: type) -> dict[str, inspect.Type]:
    info = inspect.type_info(kind)
    return {field.encode_name: field.type for field in getattr(info, "fields", ())}
