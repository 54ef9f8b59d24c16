"""A connection to systemd, or to a message bus on which systemd is: calls and signals in turn.

Source: D-Bus Specification 0.38, "Authentication Protocol" (EXTERNAL), "Message Bus".

systemd itself listens on /run/systemd/private (root alone), which needs no bus
daemon; the system bus takes one Hello first and delivers signals on request.
"""

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rundlet.cgroup.dbus import (
    CALL,
    ERROR,
    RETURN,
    SIGNAL,
    Malformed,
    Message,
    decode_message,
    encode_message,
    message_length,
)
from rundlet.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from rundlet.kernel.namespace import outer_uid

SYSTEM_BUS = "/run/dbus/system_bus_socket"
PRIVATE_SOCKET = "/run/systemd/private"

_BUS = "org.freedesktop.DBus"
_PREFIXES = ("org.freedesktop.DBus.Error.", "org.freedesktop.systemd1.")
_KINDS: dict[str, type[Error]] = {
    "NoSuchUnit": NotFound,
    "UnitExists": AlreadyExists,
    "AccessDenied": PermissionDenied,
    "AuthFailed": PermissionDenied,
    "InteractiveAuthorizationRequired": PermissionDenied,
    "InvalidArgs": InvalidArgument,
    "InvalidSignature": InvalidArgument,
    "PropertyReadOnly": InvalidArgument,
    "UnknownProperty": InvalidArgument,
    "ServiceUnknown": Unavailable,
    "NameHasNoOwner": Unavailable,
    "NoReply": Unavailable,
    "Disconnected": Unavailable,
    "Timeout": Unavailable,
}
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE = 4096


class Bus:
    """A connection; close it.  Not for several threads."""

    __slots__ = ("_address", "_buffer", "_deadline", "_serial", "_signals", "_socket", "_timeout_s")

    def __init__(self, address: str, *, timeout_s: float = 10.0) -> None:
        """Connect to the socket at `address`; each later call or wait may take `timeout_s`.

        Raises Unavailable when nobody listens there, PermissionDenied when we are refused.
        """
        self._address = address
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._serial = 0
        self._buffer = bytearray()
        self._signals: deque[Message] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._begin()
            self._socket.connect(address)
            self._authenticate()
        except OSError as error:
            self.close()
            raise self._fault(error, "connect") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def greet(self) -> str:
        """Hello, which a bus daemon wants first: our name on it."""
        (name,) = self.call(_BUS, "/org/freedesktop/DBus", _BUS, "Hello")
        return str(name)

    def watch(self, rule: str) -> None:
        """Have the bus daemon deliver signals that match `rule`."""
        self.call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", rule)

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *body: Any
    ) -> tuple[Any, ...]:
        """The values of the answer; raises what the peer says, as one of ours."""
        self._begin()
        serial = self._send(
            Message(CALL, 0, path, interface, member, destination=destination, signature=signature, body=body)
        )
        while True:
            message = self._receive()
            if message.kind == SIGNAL:
                self._signals.append(message)
            elif message.reply_serial == serial and message.kind == RETURN:
                return message.body
            elif message.reply_serial == serial and message.kind == ERROR:
                raise _translate(message, member)

    def await_signal(self, accept: Callable[[Message], bool]) -> Message:
        """The first signal that `accept` takes, of those that came during calls and those to come.

        Raises DeadlineExceeded after the connection's time limit.
        """
        self._begin()
        while True:
            message = self._signals.popleft() if self._signals else self._receive()
            if message.kind == SIGNAL and accept(message):
                return message

    # -- the wire ------------------------------------------------------------------

    def _begin(self) -> None:
        self._deadline = time.monotonic() + self._timeout_s
        self._socket.settimeout(self._timeout_s)

    def _authenticate(self) -> None:
        """BEGIN goes with AUTH: systemd does not look for a message that it reads together with BEGIN."""
        uid = str(outer_uid()).encode().hex().encode()
        self._socket.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n")
        if not self._read_line().startswith(b"OK "):
            raise PermissionDenied(f"D-Bus at {self._address} does not take user {outer_uid()}")

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise Unavailable(f"{self._address} does not speak D-Bus")
            self._read_more()
        line, _, rest = bytes(self._buffer).partition(b"\r\n")
        self._buffer = bytearray(rest)
        return line

    def _read_more(self) -> None:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        data = self._socket.recv(_CHUNK_BYTES)
        if not data:
            raise Unavailable(f"D-Bus at {self._address} hung up")
        self._buffer += data

    def _send(self, message: Message) -> int:
        self._serial += 1
        try:
            self._socket.sendall(encode_message(message._replace(serial=self._serial)))
        except OSError as error:
            raise self._fault(error, message.member) from error
        return self._serial

    def _receive(self) -> Message:
        try:
            while not (length := message_length(self._buffer)) or len(self._buffer) < length:
                self._read_more()
            message = decode_message(bytes(self._buffer[:length]))
        except OSError as error:
            raise self._fault(error, "wait for an answer") from error
        except Malformed as error:
            raise Unavailable(f"D-Bus at {self._address}: {error}") from error
        del self._buffer[:length]
        return message

    def _fault(self, error: OSError, what: str) -> Error:
        if isinstance(error, TimeoutError):
            return DeadlineExceeded(
                f"D-Bus at {self._address}: {what}: no answer within {self._timeout_s:g} s"
            )
        kind = PermissionDenied if isinstance(error, PermissionError) else Unavailable
        reason = (error.strerror or str(error)).lower()
        return kind(f"D-Bus at {self._address}: {what}: {reason}")


def _translate(message: Message, member: str) -> Error:
    name = message.error_name
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    text = message.body[0] if message.body and isinstance(message.body[0], str) else message.error_name
    line = " ".join(text.split()).rstrip(".")
    return _KINDS.get(name, FailedPrecondition)(f"systemd refuses {member}: {line[:1].lower()}{line[1:]}")
