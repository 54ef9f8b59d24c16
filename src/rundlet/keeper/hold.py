"""What the anchor holds for its supervisors, and its end of the way to the one there is (drawn in `keeper.link`).

The anchor imports no `socket`, no `typing`: they cost each idle keeper 1.5 MB.
"""

import _socket
import os

Store = dict[str, dict[str, int]]
"""Descriptors by name by container."""

_PACKET_MAX_BYTES = 1024
FDS_MAX = 8
_FD_BYTES = 4
_MSG_CMSG_CLOEXEC = 0x40000000  # the C module has no name for it


class SupervisorLink:
    """The anchor's end."""

    def __init__(self, sock: _socket.socket, store: Store) -> None:
        self._sock = sock
        self._store = store
        self.done: list[int] = []

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, text: bytes) -> bool:
        """False when the supervisor's queue is full, or it has gone."""
        try:
            self._sock.send(text, _socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive(self) -> str | None:
        """Do what the next packet asks of the store, and say its verb; None when there is none."""
        try:
            raw, rights, _, _ = self._sock.recvmsg(
                _PACKET_MAX_BYTES,
                _socket.CMSG_LEN(FDS_MAX * _FD_BYTES),
                _socket.MSG_DONTWAIT | _MSG_CMSG_CLOEXEC,
            )
        except OSError:
            return None
        if not raw:
            return None
        verb, *words = raw.decode().split()
        if verb == "put":
            fds = [fd for _, _, data in rights for fd in memoryview(data).cast("i")]
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
