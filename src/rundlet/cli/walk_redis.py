"""A Redis client of three verbs, over a plain socket: what `telnet 10.88.0.2 6379` shows."""

import socket
import time

from rundlet.errors import DataLoss, Unavailable

PORT = 6379
_RETRY_S = 0.01


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection as soon as the server listens; Unavailable when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return socket.create_connection((address, PORT), timeout=timeout_s)
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise Unavailable(f"redis at {address}:{PORT} does not answer: {error}") from error
            time.sleep(_RETRY_S)


def ask(connection: socket.socket, command: str) -> str:
    """Send one inline command; the answer of one line, or the string of a bulk answer."""
    connection.sendall(f"{command}\r\n".encode())
    with connection.makefile("rb") as answers:
        line = answers.readline().decode().rstrip("\r\n")
        if line.startswith("$"):
            return answers.read(int(line[1:]) + 2).decode().rstrip("\r\n")
    if not line:
        raise DataLoss(f"redis closed the connection at {command!r}")
    return line
