"""Objects of another process: their attributes and calls, over a stream socket.

Both ends are one program of one user, who could do whatever the other can: values go as pickles.

    frame       length (8 bytes, big-endian), then a pickle of
    ("get", handle, name, drops)                    ask for an attribute
    ("call", handle, name, args, kwargs, drops)     call one; "" is the object itself
    ("ok", value)  ("method",)  ("error", exception)

Who waits for an answer carries out what the other end asks meanwhile (a callback, a read of the
caller's file), so one connection is one thread on either side.  Plain values are copied; all else stays
where it is, and the other end has a `Remote` with its handle.  `drops` are handles that nobody there
holds any more.
"""

import io
import pickle
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from enum import Enum
from functools import partial
from itertools import count
from pathlib import PurePath
from re import Pattern
from types import BuiltinFunctionType, FunctionType
from typing import Any, Protocol

from msgspec import Struct, UnsetType

from rundlet.errors import Error, FailedPrecondition, Unavailable

_LENGTH_BYTES = 8
_COPIED = (
    int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, deque, range, slice, type,
    Struct, UnsetType, BaseException, Enum, PurePath, Pattern, datetime, timedelta, tzinfo, type(None), type(Ellipsis),
)  # fmt: skip
_BY_NAME = (FunctionType, BuiltinFunctionType)
_QUESTIONS = ("get", "call")


class Table:
    """What this end has lent to the other, by handle.  Thread-safe."""

    def __init__(self, root: object = None) -> None:
        """`root` is there from the beginning, as handle 0, for good."""
        self._objects: dict[int, object] = {0: root}
        self._handles = count(1)

    def lend(self, value: object) -> int:
        handle = next(self._handles)
        self._objects[handle] = value
        return handle

    def find(self, handle: int) -> object:
        try:
            return self._objects[handle]
        except KeyError:
            raise FailedPrecondition("this object ended with the process that it lived in") from None

    def drop(self, handles: list[int]) -> None:
        for handle in filter(None, handles):
            self._objects.pop(handle, None)


class Line(Protocol):
    """By what an object of the other end is asked; `dropped` are handles that nobody here holds any more.

    `methods` are (class, name) known not to be values: to look one up takes no question.
    """

    dropped: list[int]
    methods: set[tuple[str, str]]
    has_ended: bool

    def ask(self, *question: Any) -> Any:
        """The answer to ("get" | "call", …); raises what the other end raised, and Unavailable when it is gone."""


class Channel:
    """One connection to the other end, of which one thread on either side makes use at a time."""

    def __init__(self, sock: socket.socket, table: Table, line: Line | None = None) -> None:
        """Objects of the other end that come by it are asked by `line`; None: by this connection."""
        self._sock = sock
        self._table = table
        self._lock = threading.Lock()
        self._line = line or self
        self.methods: set[tuple[str, str]] = set()
        self.dropped: list[int] = []
        self.is_waiting = False
        self.has_ended = False

    def ask(self, *question: Any) -> Any:
        with self._lock:
            drops = [self._line.dropped.pop() for _ in range(len(self._line.dropped))]
            raw = self._dump((*question, drops))
            self.is_waiting = True
            self._send(raw)
            while (message := self._receive()) is not None:
                if message[0] in _QUESTIONS:
                    self._send(self._carry_out(message))
                    continue
                self.is_waiting = False
                if message[0] == "error":
                    raise message[1]
                return message
        raise self._note_end()

    def _note_end(self) -> Unavailable:
        self._line.has_ended = True
        return Unavailable(
            "the process in the user's namespaces has ended", hint="the next call starts another one"
        )

    def serve(self) -> None:
        """Do what the other end asks until it closes the connection."""
        try:
            while (message := self._receive()) is not None:
                self._send(self._carry_out(message))
        except Unavailable:
            pass  # who asked did not wait for the answer
        finally:
            self.close()

    def close(self) -> None:
        self._sock.close()

    def _carry_out(self, message: tuple[Any, ...]) -> bytes:
        """The answer, as a pickle."""
        try:
            return self._dump(self._do(*message))
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all of them are the caller's
            return self._dump(("error", _tell(error)))

    def _do(self, kind: str, handle: int, name: str, *rest: Any) -> tuple[Any, ...]:
        self._table.drop(rest[-1])
        target = self._table.find(handle)
        found: Any = getattr(target, name) if name else target
        if kind == "call":
            return ("ok", found(*rest[0], **rest[1]))
        return ("method",) if getattr(found, "__self__", None) is target else ("ok", found)

    def _dump(self, message: tuple[Any, ...]) -> bytes:
        out = io.BytesIO()
        _Dumper(out, self).dump(message)
        return out.getvalue()

    def _send(self, raw: bytes) -> None:
        try:
            self._sock.sendall(len(raw).to_bytes(_LENGTH_BYTES, "big"))
            self._sock.sendall(raw)
        except OSError as error:
            raise self._note_end() from error

    def _receive(self) -> tuple[Any, ...] | None:
        length = self._read(_LENGTH_BYTES)
        raw = self._read(int.from_bytes(length, "big")) if length else b""
        if not raw:
            return None
        message: tuple[Any, ...] = _Loader(io.BytesIO(raw), self).load()
        return message

    def _read(self, size: int) -> bytes | bytearray:
        """Nothing when the connection ends before."""
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                got = self._sock.recv_into(view)
            except OSError:
                got = 0
            if not got:
                return b""
            view = view[got:]
        return data

    def reference(self, value: object) -> tuple[Any, ...] | None:
        """How a value goes that is not copied."""
        if isinstance(value, Remote):
            return ("yours", value.remote_handle)
        if isinstance(value, _COPIED) or (isinstance(value, _BY_NAME) and _is_importable(value)):
            return None
        return ("mine", self._table.lend(value), type(value).__qualname__)

    def resolve(self, reference: tuple[Any, ...]) -> object:
        if reference[0] == "yours":
            return self._table.find(reference[1])
        return Remote(self._line, *reference[1:])


class Pool:
    """A line of many connections: each question takes one that no thread uses now.  Thread-safe."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._idle: list[Channel] = []
        self._table = Table()
        self.methods: set[tuple[str, str]] = set()
        self.dropped: list[int] = []
        self.has_ended = False

    def ask(self, *question: Any) -> Any:
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = Channel(self._connect(), self._table, self)
        try:
            return channel.ask(*question)
        finally:
            # A caller that was interrupted leaves an answer behind, which nobody must take for its own.
            if channel.is_waiting:
                channel.close()
            else:
                self._idle.append(channel)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Remote:
    """An object of the other end: what is asked of it is asked there."""

    def __init__(self, line: Line, handle: int, kind: str) -> None:
        self._line = line
        self.remote_handle = handle
        self._kind = kind

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask("call", self.remote_handle, name, args, kwargs)[1]

    def __getattr__(self, name: str) -> Any:
        """An attribute as it is there; a method to be called here."""
        if name.startswith("__"):
            raise AttributeError(name)
        known = self._line.methods
        if (self._kind, name) not in known:
            answer = self._line.ask("get", self.remote_handle, name)
            if answer[0] == "ok":
                return answer[1]
            known.add((self._kind, name))
        return partial(self._call, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("", *args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = self._call("__iter__")
        return found

    def __next__(self) -> Any:
        return self._call("__next__")

    def __repr__(self) -> str:
        return f"<{self._kind} in the user's namespaces>"

    def __del__(self) -> None:
        self._line.dropped.append(self.remote_handle)


class _Dumper(pickle.Pickler):
    def __init__(self, out: io.BytesIO, channel: Channel) -> None:
        super().__init__(out, pickle.HIGHEST_PROTOCOL)
        self._channel = channel

    def persistent_id(self, value: object) -> tuple[Any, ...] | None:
        return self._channel.reference(value)

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, BaseException):
            return _rebuild_error, (type(value), value.args, value.__dict__, value.__cause__)
        return NotImplemented


class _Loader(pickle.Unpickler):
    def __init__(self, raw: io.BytesIO, channel: Channel) -> None:
        super().__init__(raw)
        self._channel = channel

    def persistent_load(self, reference: tuple[Any, ...]) -> object:
        return self._channel.resolve(reference)


def _rebuild_error(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], cause: BaseException | None
) -> BaseException:
    """As it was, whatever its __init__ takes."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    error.__cause__ = cause
    return error


def _tell(error: BaseException) -> BaseException:
    """What is nobody's on purpose says where it came from."""
    if not isinstance(error, (Error, StopIteration, AttributeError)):
        error.add_note("".join(traceback.format_exception(error)))
    return error


def _is_importable(function: Callable[..., object]) -> bool:
    """Whether the other end finds it by its name; what a script defines it does not."""
    if function.__module__ in ("__main__", None):
        return False
    found: object = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function
