"""Immutable values with JSON names, for documents that short-lived processes read.

`rundlet-runtime` reads one config.json and is gone: importing a general decoder
(50 ms for msgspec and what it brings) would cost more than starting the container.
A model reads its own annotations, which stay text, and compiles a reader for a
class when the first object of it is met.  Nothing is imported for it.

    class Root(Model):              {"path": "rootfs", "readonly": true}
        path: str
        readonly: bool = False

Annotations may be: str, bool, int, one of the sized integers below, a model,
list[…], dict[str, …], and any of these with "| None".  Members that are null
count as absent, unknown members are ignored (runtime-spec config.md,
"Extensibility").
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, TypeVar, dataclass_transform

    M = TypeVar("M", bound="Model")
    Reader = Callable[[Any, str], Any]
    Member = tuple[str, Reader]
else:

    def dataclass_transform(**_: object) -> object:
        return lambda kind: kind


Int32 = int
Int64 = int
Uint16 = int
Uint32 = int
Uint64 = int
UserId = int  # also of a group; the highest number means "unchanged" to setresuid(2) and is nobody's

_RANGES = {
    "int": (-(1 << 63), (1 << 64) - 1),
    "Int32": (-(1 << 31), (1 << 31) - 1),
    "Int64": (-(1 << 63), (1 << 63) - 1),
    "Uint16": (0, (1 << 16) - 1),
    "Uint32": (0, (1 << 32) - 1),
    "Uint64": (0, (1 << 64) - 1),
    "UserId": (0, (1 << 32) - 2),
}
_WORDS = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "array",
    dict: "object",
    type(None): "null",
}
_ATOMS = frozenset((str, int, bool, type(None)))


class Mismatch(ValueError):
    """A value is not what the model says: "process.cwd: expected str, got int"."""


@dataclass_transform(frozen_default=True)
class Model:
    """Base of the models; `json_names` holds the JSON names that are not the field's in camelCase."""

    json_names: dict[str, str] = {}
    omit_defaults = True
    fields: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    members: dict[str, Member] = {}
    json_keys: dict[str, str] = {}

    def __init_subclass__(cls) -> None:
        cls.fields = tuple(vars(cls).get("__annotations__", ()))
        cls.defaults = {name: vars(cls)[name] for name in cls.fields if name in vars(cls)}
        cls.members = {}
        cls.json_keys = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(self.fields, args, strict=False), **kwargs)
        values = {**self.defaults, **given}
        if len(args) > len(self.fields) or values.keys() != set(self.fields):
            wrong = sorted(values.keys() ^ set(self.fields))
            raise TypeError(f"{type(self).__name__}: fields missing or unknown: {', '.join(wrong)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        raise TypeError(f"{type(self).__name__} holds lists and has no hash")

    def __repr__(self) -> str:
        given = (f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({', '.join(given)})"

    def replace(self, **changes: Any) -> Self:
        """A copy with other values for some fields."""
        return type(self)(**{**self.__dict__, **changes})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; fields equal to their default are left out unless the class says otherwise."""
        own = self.__dict__
        omitted = self.defaults if self.omit_defaults else {}
        keys = self.json_keys or _name_fields(type(self))
        return {
            keys[name]: _plain(own[name])
            for name in self.fields
            if name not in omitted or own[name] != omitted[name]
        }


def from_json(kind: type[M], value: Any, where: str = "") -> M:
    """Already parsed JSON as a model; Mismatch names the path below `where`."""
    if type(value) is not dict:
        raise Mismatch(f"{where or 'document'}: expected object, got {_word(value)}")
    members = kind.members or _compile(kind)
    values = kind.defaults.copy()
    for key, item in value.items():
        if item is not None and key in members:
            name, read = members[key]
            values[name] = read(item, f"{where}.{key}" if where else key)
    if len(values) != len(kind.fields):
        missing = next(key for key, (name, _) in members.items() if name not in values)
        raise Mismatch(f"{where or 'document'}: object missing required field {missing}")
    made = kind.__new__(kind)
    made.__dict__.update(values)
    return made


def _compile(kind: type[Model]) -> dict[str, Member]:
    scope = vars(sys.modules[kind.__module__])
    keys = kind.json_keys or _name_fields(kind)
    kind.members = {
        keys[name]: (name, _make_reader(text, scope)) for name, text in kind.__annotations__.items()
    }
    return kind.members


def _name_fields(kind: type[Model]) -> dict[str, str]:
    """Each field's name in JSON; kept with the class."""
    kind.json_keys = {name: kind.json_names.get(name) or _camel(name) for name in kind.fields}
    return kind.json_keys


def _make_reader(text: str, scope: dict[str, Any]) -> Reader:
    """The reader for an annotation's text; called with the value and its path."""
    text = text.removesuffix(" | None")
    if text == "str":
        return _read_str
    if text == "bool":
        return _read_bool
    if text in _RANGES:
        return _make_int_reader(*_RANGES[text])
    if text.startswith("list["):
        return _make_list_reader(_make_reader(text[5:-1], scope))
    if text.startswith("dict[str, "):
        return _make_dict_reader(_make_reader(text[10:-1], scope))
    kind = scope[text]
    return lambda value, where: from_json(kind, value, where)


def _read_str(value: Any, where: str) -> Any:
    if type(value) is not str:
        raise Mismatch(f"{where}: expected str, got {_word(value)}")
    if "\0" in value:
        raise Mismatch(f"{where}: expected str without null characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Mismatch(f"{where}: expected str, got half a surrogate pair") from None
    return value


def _read_bool(value: Any, where: str) -> Any:
    if type(value) is not bool:
        raise Mismatch(f"{where}: expected bool, got {_word(value)}")
    return value


def _make_int_reader(least: int, most: int) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not int:
            raise Mismatch(f"{where}: expected int, got {_word(value)}")
        if not least <= value <= most:
            raise Mismatch(f"{where}: expected int from {least} to {most}, got {value}")
        return value

    return read


def _make_list_reader(read_item: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not list:
            raise Mismatch(f"{where}: expected array, got {_word(value)}")
        return [read_item(item, f"{where}[{index}]") for index, item in enumerate(value)]

    return read


def _make_dict_reader(read_item: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise Mismatch(f"{where}: expected object, got {_word(value)}")
        return {key: read_item(item, f"{where}.{key}") for key, item in value.items()}

    return read


def _word(value: Any) -> str:
    return _WORDS.get(type(value), type(value).__name__)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _plain(value: Any) -> Any:
    if type(value) in _ATOMS:  # first of all: a seccomp profile holds hundreds of names
        return value
    if isinstance(value, Model):
        return value.to_json()
    if isinstance(value, list | tuple):
        return [item if type(item) in _ATOMS else _plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
