"""Whether a keeper is there and answers; none is started."""

import os
import socket
import struct
from typing import NamedTuple

from rundlet.keeper.place import connect_path, keeper_dir
from rundlet.keeper.protocol import receive_packet, send_packet

_CREDENTIALS = struct.Struct("3i")  # unix(7), struct ucred: pid, uid, gid


class KeeperProbe(NamedTuple):
    """`pid` is of the process that made the socket, the anchor; 0 when nobody listens."""

    pid: int
    answers: bool


def probe_keeper(run_root: str, timeout_s: float) -> KeeperProbe:
    """Ask for the version, and wait `timeout_s` for an answer."""
    try:
        fd, address = connect_path(keeper_dir(run_root))
    except OSError:
        return KeeperProbe(0, answers=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(address)
        except OSError:
            return KeeperProbe(0, answers=False)
        finally:
            os.close(fd)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = _CREDENTIALS.unpack(credentials)[0]
        try:
            send_packet(sock, {"id": 1, "verb": "version", "args": {}})
            return KeeperProbe(pid, answers=receive_packet(sock) is not None)
        except OSError:
            return KeeperProbe(pid, answers=False)
