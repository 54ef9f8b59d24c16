"""The seccomp agent: who answers for calls that a filter notifies of (config-linux.md#seccomp).

One message on its unix stream socket: the container process state as JSON, and
the listener's descriptor with it (SCM_RIGHTS).
"""

import json
import os
import socket
from typing import NamedTuple

from rundlet.errors import FailedPrecondition
from rundlet.plan.process import Listener


class Agent(NamedTuple):
    """The connection, made while the host's files are in sight, and what it is to be told.

    The modules are loaded by then, and nothing but sendmsg(2) is called between
    the filter and the agent's having its descriptor.
    """

    socket: socket.socket
    message: bytes

    def send(self, fd: int) -> None:
        """Hand the listener over; both close at execve(2)."""
        socket.send_fds(self.socket, [self.message], [fd])


def connect_agent(listener: Listener, status: str) -> Agent:
    """Raises FailedPrecondition when nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(listener.path)
    except OSError as error:
        raise FailedPrecondition(
            f"linux.seccomp.listenerPath {listener.path}: {os.strerror(error.errno or 0).lower()}"
        ) from error
    pid = int(os.readlink("/proc/self"))  # as the host counts, which the container's own /proc does not
    state = {**listener.state, "status": status, "pid": pid}
    message = {
        "ociVersion": state.get("ociVersion", ""),
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": listener.metadata,
        "state": state,
    }
    return Agent(connection, json.dumps(message).encode())
