"""Small stand-ins for modules of the standard library, for `rundlet-runtime` and the keeper's supervisor.

A cold start is mostly imports: with these stand-ins, and parts loaded when they are
needed, they went from 33 to 17 ms; a keeper that stays takes 2 MB less.  What they keep away: typing's re, contextlib and
functools; json's three parts in Python; the enums of signal and socket; and
namedtuple classes, which are made by compiling source text.  A stand-in has the few
names that a container's start uses.  Asked for any other, it loads the real module,
takes its place in `sys.modules`, and gives that one's answer: nothing can be missing.

    typing       NamedTuple with the same fields, defaults, _replace and _asdict; names for annotations
    json         loads and dumps on the interpreter's own scanner and encoder
    signal       what is in C: numbers instead of enums (enum and functools stay away)
    socket       what is in C, with `with`, accept, socketpair, send_fds and recv_fds
    collections  empty, and collections.abc as the interpreter has it from its start
    base64       b64encode and b64decode

tests/test_lean.py holds them beside the real ones.
"""

from __future__ import annotations

import _collections_abc
import _signal
import _socket
import binascii
import sys
from _collections import _tuplegetter  # type: ignore[import-not-found] # what the real one is made of
from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, Self
else:
    ModuleType = type(sys)  # as `types` has it


def _load(name: str) -> ModuleType:
    """importlib.import_module, which is a package to import itself."""
    __import__(name)
    module = sys.modules[name]
    if name == "collections":
        vars(module)["abc"] = _collections_abc  # the import system would, had it found this submodule itself
    return module


class Lean(ModuleType):
    """A module that becomes the real one when it is asked for more than it has."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask(name)

    def _ask(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(_load(self.__name__), name)


class _Absent(Lean):
    """One that has nothing, for a package too: who imports a module in it asks for `__path__`."""

    def __getattr__(self, name: str) -> Any:
        return self._ask(name) if name == "__path__" else super().__getattr__(name)


class _Loaded:
    """Finds a module that is there: an import in an absent package has the whole package come, and would make a second one of it."""

    @staticmethod
    def find_spec(name: str, _path: object = None, target: object = None) -> Any:
        make_spec: Any = type(sys.__spec__)
        return make_spec(name, _Loaded) if target is None and name in sys.modules else None

    @staticmethod
    def create_module(spec: Any) -> ModuleType:
        return sys.modules[spec.name]

    @staticmethod
    def exec_module(_: ModuleType) -> None:
        pass


def leave_out(*names: str) -> None:
    """Load these modules only when something is asked of them; those that are loaded already stay."""
    sys.meta_path.insert(0, _Loaded)
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _Absent(name)


# -- typing ---------------------------------------------------------------------


class _Form:
    """Stands in annotations, which nobody evaluates here; it may be called, subscripted and joined.

    As a base (Protocol) it adds nothing to a class.
    """

    def __getitem__(self, _: object) -> _Form:
        return self

    def __call__(self, *_: object, **__: object) -> _Form:
        return self

    def __or__(self, _: object) -> _Form:
        return self

    __ror__ = __or__

    def __mro_entries__(self, _: object) -> tuple[type, ...]:
        return ()


class NamedTuple(tuple):  # type: ignore[type-arg]
    """typing.NamedTuple as a plain base class: fields from the annotations, in order."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    _field_defaults: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        names = tuple(vars(cls).get("__annotations__", ()))
        if not names:
            return
        cls._field_defaults = {name: vars(cls)[name] for name in names if name in vars(cls)}
        cls._fields = names
        cls.__match_args__ = names  # type: ignore[attr-defined,misc]
        for index, name in enumerate(names):
            setattr(cls, name, _tuplegetter(index, None))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if kwargs or len(args) != len(cls._fields):
            args = _complete(cls, args, kwargs)
        return tuple.__new__(cls, args)

    @classmethod
    def _make(cls, values: Any) -> Self:
        return cls(*values)

    def _replace(self, **changes: Any) -> Self:
        return type(self)(**{**self._asdict(), **changes})

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({given})"


def _complete(kind: type[NamedTuple], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All fields in order; TypeError as the real one has it."""
    fields, defaults = vars(kind)["_fields"], vars(kind)["_field_defaults"]
    values = {**defaults, **dict(zip(fields, args, strict=False)), **kwargs}
    twice = kwargs.keys() & fields[: len(args)]
    if len(args) > len(fields) or twice or values.keys() != set(fields):
        wrong = ", ".join(sorted(values.keys() ^ set(fields) | twice))
        raise TypeError(f"{kind.__name__}: {len(args)} values given, wrong or missing fields: {wrong}")
    return tuple(values[name] for name in fields)


def _make_typing() -> Lean:
    module = Lean("typing")
    form = _Form()
    for name in ("Any", "NoReturn", "Literal", "ClassVar", "Self", "TypeVar", "Final", "Protocol"):
        setattr(module, name, form)
    names = {"NamedTuple": NamedTuple, "TYPE_CHECKING": False, "cast": lambda _, value: value}
    vars(module).update(names)
    return module


# -- json -----------------------------------------------------------------------


class _Reading:
    """What the scanner asks of a decoder; numbers and constants as the real one reads them."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo: dict[str, str] = {}


_scan: Any = make_scanner(_Reading)  # type: ignore[arg-type] # attributes are all it wants


def loads(raw: str | bytes) -> Any:
    """json.loads of text or UTF-8; what it does not like, the real one says."""
    if isinstance(raw, str):
        text = raw
    elif raw[:3] == b"\xef\xbb\xbf" or b"\0" in raw[:4]:
        return _real_json().loads(raw)
    else:
        text = raw.decode("utf-8", "surrogatepass")
    start = len(text) - len(text.lstrip(" \t\n\r"))
    try:
        value, end = _scan(text, start)
    except (
        StopIteration,
        ValueError,
        SystemError,
    ):  # the scanner looks for its error class in the real module
        return _real_json().loads(raw)
    if text[end:].strip(" \t\n\r"):
        return _real_json().loads(raw)
    return value


def dumps(
    value: Any, *, separators: tuple[str, str] = (", ", ": "), ensure_ascii: bool = True, **others: Any
) -> str:
    """json.dumps; with other arguments by the real one."""
    if others:
        text: str = _real_json().dumps(value, separators=separators, ensure_ascii=ensure_ascii, **others)
        return text
    encode_text = encode_basestring_ascii if ensure_ascii else encode_basestring
    item, key = separators
    encode: Any = make_encoder({}, _refuse, encode_text, None, key, item, False, False, True)
    return "".join(encode(value, 0))


def _refuse(value: object) -> None:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _real_json() -> Any:
    if isinstance(sys.modules.get("json"), Lean):
        del sys.modules["json"]
    return _load("json")


def _make_json() -> Lean:
    module = Lean("json")
    vars(module).update(loads=loads, dumps=dumps)
    return module


# -- what is in C already --------------------------------------------------------


class Socket(_socket.socket):
    """socket.socket as far as these programs use it."""

    __slots__ = ()

    def accept(self) -> tuple[Socket, Any]:
        fd, address = self._accept()  # type: ignore[attr-defined]
        return Socket(self.family, self.type, self.proto, fd), address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def socketpair(family: int = _socket.AF_UNIX, kind: int = _socket.SOCK_STREAM) -> tuple[Socket, Socket]:
    first, second = _socket.socketpair(family, kind)
    return Socket(family, kind, 0, first.detach()), Socket(family, kind, 0, second.detach())


def send_fds(sock: Socket, buffers: Any, fds: Any) -> int:
    packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    return sock.sendmsg(buffers, [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if packed else [])


def recv_fds(sock: Socket, size: int, max_fds: int, flags: int = 0) -> tuple[bytes, list[int], int, Any]:
    data, ancillary, found_flags, address = sock.recvmsg(size, _socket.CMSG_LEN(max_fds * 4), flags)
    packed = b"".join(
        item[: len(item) // 4 * 4]
        for level, kind, item in ancillary
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
    )
    fds = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return data, fds, found_flags, address


def _make_socket() -> Lean:
    module = Lean("socket")
    vars(module).update({name: value for name, value in vars(_socket).items() if name[:2] != "__"})
    vars(module).update(socket=Socket, socketpair=socketpair, send_fds=send_fds, recv_fds=recv_fds)
    return module


def _make_signal() -> Lean:
    module = Lean("signal")
    vars(module).update({name: value for name, value in vars(_signal).items() if name[:2] != "__"})
    return module


def _make_collections() -> Lean:
    module = Lean("collections")
    vars(module).update(__path__=[], abc=_collections_abc)
    sys.modules["collections.abc"] = _collections_abc
    return module


# -- base64 ---------------------------------------------------------------------


def _make_base64() -> Lean:
    module = Lean("base64")
    vars(module).update(
        b64decode=binascii.a2b_base64, b64encode=lambda raw: binascii.b2a_base64(raw, newline=False)
    )
    return module


def install() -> None:
    """In place of modules that are not loaded yet."""
    makers: dict[str, Callable[[], Lean]] = {
        "typing": _make_typing,
        "json": _make_json,
        "base64": _make_base64,
    }
    makers |= {"signal": _make_signal, "socket": _make_socket, "collections": _make_collections}
    for name, make in makers.items():
        if name not in sys.modules:
            sys.modules[name] = make()
