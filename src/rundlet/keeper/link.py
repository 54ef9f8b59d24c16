"""Anchor and supervisor: what they say to each other, and the descriptors the anchor holds.

A SOCK_SEQPACKET pair for each supervisor; a packet is words with spaces between:

    supervisor → anchor     put CONTAINER NAME …     (fds)  hold these until they are dropped
                            drop CONTAINER [NAME …]         close those, or all of it
                            done PID                        the exit is on disk: forget it
                            sync                            say what you have reaped
    anchor → supervisor     exit PID STATUS TIME            a child of a dead supervisor has ended
                            synced                          all exits so far were said before

The supervisor is forked by the anchor, so it has from birth all that is held.
"""

import array
import os
import socket
from typing import NamedTuple

Store = dict[str, dict[str, int]]
"""Descriptors by name by container."""

_PACKET_MAX_BYTES = 1024
_FDS_MAX = 8


class Ended(NamedTuple):
    """A process that the anchor reaped because whoever made it has gone."""

    pid: int
    wait_status: int
    finished_at_ns: int


class AnchorLink:
    """The supervisor's end.  A dead anchor is no error here: `is_lost` tells."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.is_lost = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def put(self, container_id: str, fds: dict[str, int]) -> None:
        """Have `fds` held; they stay open here, too."""
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds.values()))]
            self._send(" ".join(("put", container_id, *fds)), rights)

    def drop(self, container_id: str, *names: str) -> None:
        self._send(" ".join(("drop", container_id, *names)))

    def done(self, pid: int) -> None:
        self._send(f"done {pid}")

    def _send(self, text: str, rights: list[tuple[int, int, "array.array[int]"]] | None = None) -> None:
        try:
            self._sock.sendmsg([text.encode()], rights or [])
        except OSError:
            self.is_lost = True

    def receive(self) -> list[Ended]:
        """All exits that were told since the last time; never blocks."""
        found: list[Ended] = []
        while self._take(found, socket.MSG_DONTWAIT):
            pass
        return found

    def sync(self) -> list[Ended]:
        """All exits there are, also those that have not been told yet."""
        found: list[Ended] = []
        self._send("sync")
        while not self.is_lost and self._take(found, 0):
            pass
        return found

    def _take(self, found: list[Ended], flags: int) -> bool:
        """One packet; False when there is none, or it was "synced"."""
        try:
            words = self._sock.recv(_PACKET_MAX_BYTES, flags).split()
        except BlockingIOError:
            return False
        except OSError:
            words = []
        if not words:
            self.is_lost = True
        if not words or words[0] != b"exit":
            return False
        found.append(Ended(*map(int, words[1:])))
        return True

    def close(self) -> None:
        self._sock.close()


class SupervisorLink:
    """The anchor's end."""

    def __init__(self, sock: socket.socket, store: Store) -> None:
        self._sock = sock
        self._store = store
        self.done: list[int] = []

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, text: bytes) -> bool:
        """False when the supervisor's queue is full, or it has gone."""
        try:
            self._sock.send(text, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive(self) -> str | None:
        """Do what the next packet asks of the store, and say its verb; None when there is none."""
        try:
            raw, fds, _, _ = socket.recv_fds(
                self._sock, _PACKET_MAX_BYTES, _FDS_MAX, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return None
        if not raw:
            return None
        verb, *words = raw.decode().split()
        if verb == "put":
            self._put(words[0], dict(zip(words[1:], fds, strict=False)))
        elif verb == "drop":
            self._drop(words[0], words[1:])
        elif verb == "done":
            self.done.append(int(words[0]))
        return verb

    def _put(self, container_id: str, fds: dict[str, int]) -> None:
        self._drop(container_id, list(fds))
        self._store.setdefault(container_id, {}).update(fds)

    def _drop(self, container_id: str, names: list[str]) -> None:
        held = self._store.get(container_id, {})
        for name in names or list(held):
            if name in held:
                os.close(held.pop(name))
        if not held:
            self._store.pop(container_id, None)

    def close(self) -> None:
        self._sock.close()
