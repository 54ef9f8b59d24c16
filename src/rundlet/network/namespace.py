"""A NETLINK_ROUTE socket inside a network namespace that is known by its path.

Entering a namespace is a matter for a process with one thread, so a short-lived
one does it and passes the socket back:

    python -m rundlet.network.namespace /run/netns/x 7      (7: its end of a socket pair)
"""

import os
import socket
import subprocess
import sys

from rundlet.errors import NotFound, Unavailable
from rundlet.kernel.namespace import CLONE_NEWNET, join
from rundlet.netlink.socket import NETLINK_ROUTE

_TIMEOUT_S = 10


def open_route_socket(netns_path: str) -> int:
    """The file descriptor, the caller's to close.  Takes about 50 ms: keep it.

    Raises NotFound when there is no such namespace.
    """
    if not os.path.exists(netns_path):
        raise NotFound(f"network namespace {netns_path} does not exist")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", __spec__.name, netns_path, str(theirs.fileno())]
        done = subprocess.run(
            command, pass_fds=[theirs.fileno()], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(f"cannot enter network namespace {netns_path}: {said}")
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        return fds[0]


def _main(path: str, channel_fd: str) -> None:
    join(path, CLONE_NEWNET)
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    with socket.socket(fileno=int(channel_fd)) as channel:
        socket.send_fds(channel, [b"."], [route.fileno()])


if __name__ == "__main__":
    _main(*sys.argv[1:])
