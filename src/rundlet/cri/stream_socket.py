"""A peer's connection without waiting, plain or TLS, and poll(2) over a session's descriptors."""

import select
import socket
import ssl
from collections.abc import Mapping

READ = select.POLLIN
WRITE = select.POLLOUT
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL

CHUNK_BYTES = 1 << 16
_TIMEOUT_MAX_S = 1e6  # poll(2) takes milliseconds in an int


def wait_for(interest: Mapping[int, int], timeout_s: float | None) -> dict[int, int]:
    """READ and WRITE by descriptor, of those that are asked for; {} when the time is over.

    A broken descriptor counts as ready for what is asked: using it tells what is wrong.
    """
    poller = select.poll()
    for fd, mask in interest.items():
        if mask:
            poller.register(fd, mask)
    timeout_ms = (
        None if timeout_s is None else int(min(max(0.0, timeout_s), _TIMEOUT_MAX_S) * 1000) + bool(timeout_s)
    )
    found = poller.poll(timeout_ms)
    return {fd: interest[fd] if events & _BROKEN else events for fd, events in found}


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
        """Before `begin`: an answer after which there is nothing."""
        self._sock.sendall(data)

    def begin(self) -> None:
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
