"""A peer's connection without waiting, plain or TLS, and poll(2) over a session's descriptors."""

import math
import select
import socket
import ssl
from collections.abc import Mapping

READ = select.POLLIN
WRITE = select.POLLOUT
BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL

CHUNK_BYTES = 1 << 16
_LAST_TIMEOUT_S = 1.0
_LAST_CHUNKS = 16
_TIMEOUT_MAX_S = 1e6  # poll(2) takes milliseconds in an int


def wait_for(interest: Mapping[int, int], timeout_s: float | None, watched_fd: int = -1) -> dict[int, int]:
    """READ and WRITE by descriptor, of those that are asked for; {} when the time is over.

    A broken descriptor counts as ready for what is asked: using it tells what is wrong.
    `watched_fd` is looked at even when nothing is asked of it, and is BROKEN then.
    """
    poller = select.poll()
    for fd, mask in interest.items():
        if mask or fd == watched_fd:
            poller.register(fd, mask)
    timeout_ms = None if timeout_s is None else _to_ms(timeout_s)
    found = poller.poll(timeout_ms)
    return {fd: (interest[fd] or BROKEN) if events & BROKEN else events for fd, events in found}


def _to_ms(timeout_s: float) -> int:
    """Rounded up, or a wait would end just before its time, again and again."""
    return math.ceil(min(max(0.0, timeout_s), _TIMEOUT_MAX_S) * 1000)


class ClientSocket:
    """One connection; waits at most `limit` for the handshake, and not at all from `begin` on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._turned = 0  # a TLS record must be written to read on, or the other way round

    def limit(self, timeout_s: float) -> None:
        self._sock.settimeout(timeout_s)

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS; OSError when the client does not."""
        self._sock = context.wrap_socket(self._sock, server_side=True)

    def send_last(self, data: bytes) -> None:
        """Before `begin`: an answer after which there is nothing.

        What the client still sends is read for a moment: closing on it would reset the
        connection, and the answer be lost.
        """
        self._sock.sendall(data)
        self.end()
        self._sock.settimeout(_LAST_TIMEOUT_S)
        for _ in range(_LAST_CHUNKS):
            if self.drain():
                return

    def begin(self) -> None:
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def fileno(self) -> int:
        return self._sock.fileno()

    def interest(self, *, read: bool, write: bool) -> int:
        return READ * read | WRITE * write | self._turned

    @property
    def has_buffered(self) -> bool:
        """Bytes are decrypted already, which poll(2) cannot know."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def receive(self) -> bytes | None:
        """What has come, b"" at the end, None when there is nothing now."""
        self._turned = 0
        try:
            return self._sock.recv(CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self._turned = WRITE
            return None
        except OSError:
            return b""

    def send(self, data: bytes | bytearray) -> int:
        """How much was taken; OSError when the connection is broken."""
        self._turned = 0
        try:
            return self._sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLWantReadError:
            self._turned = READ
            return 0

    def end(self) -> None:
        """Say that nothing more comes."""
        try:
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock.unwrap()  # sends close_notify, and would wait for the client's
        except (OSError, ValueError):
            pass
        self._shutdown(socket.SHUT_WR)

    def drain(self) -> bool:
        """After `end`: drop what still comes, encrypted as it is; whether the peer has hung up."""
        try:
            return not socket.socket.recv(self._sock, CHUNK_BYTES)
        except BlockingIOError:
            return False

    def stop(self) -> None:
        """From another thread: who polls it wakes up and finds the end."""
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        try:
            socket.socket.shutdown(self._sock, how)  # not SSLSocket's, which forgets its keys
        except OSError:
            pass  # the client was faster

    def close(self) -> None:
        self._sock.close()
