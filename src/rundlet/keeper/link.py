"""Anchor and supervisor: what they say to each other; this is the supervisor's end (the other: `keeper.hold`).

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
import socket
from typing import NamedTuple

from rundlet.keeper.hold import FDS_MAX

_PACKET_MAX_BYTES = 1024


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
        names = list(fds)
        for start in range(0, len(names), FDS_MAX):
            some = names[start : start + FDS_MAX]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fds[name] for name in some]))]
            self._send(" ".join(("put", container_id, *some)), rights)

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
