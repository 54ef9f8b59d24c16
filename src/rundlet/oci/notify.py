"""sd_notify(3) across the container's wall.

    service manager ◀── READY=1, MAINPID=<pid> ── `start` ◀── notify/notify.sock ◀── the container

The container gets a socket of its own, bind-mounted as /run/notify/notify.sock,
since a datagram from another PID namespace would name a pid that the manager
does not know.  `start` passes on READY=1 and what came with it, then returns.
"""

import os
import select
import socket

from rundlet.oci.containers import Container, is_alive
from rundlet.spec.runtime import Mount, RuntimeConfig

_INSIDE = "/run/notify"
_NAME = "notify.sock"
_VARIABLE = "NOTIFY_SOCKET"
_MESSAGE_MAX_BYTES = 4096
_CHECK_EVERY_MS = 100


def hand_over(config: RuntimeConfig, directory: str) -> RuntimeConfig:
    """The configuration with a socket for the container, made below `directory`."""
    if config.process is None:
        return config
    os.mkdir(f"{directory}/notify", 0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{directory}/notify/{_NAME}")
    os.chmod(f"{directory}/notify/{_NAME}", 0o777)  # noqa: S103 - any user of the container may say it
    mount = Mount(_INSIDE, f"{directory}/notify", "bind", ["bind", "nosuid", "noexec", "nodev", "ro"])
    env = [entry for entry in config.process.env or [] if not entry.startswith(f"{_VARIABLE}=")]
    env.append(f"{_VARIABLE}={_INSIDE}/{_NAME}")
    return config.replace(mounts=[*(config.mounts or []), mount], process=config.process.replace(env=env))


class Relay:
    """The listening end, taken before the program runs so that no message is lost."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = f"{container.directory}/notify/{_NAME}"
        os.unlink(path)
        self._sock.bind(path)
        os.chmod(path, 0o777)  # noqa: S103 - any user of the container may say it

    def pass_on(self) -> None:
        """Until the container says that it is ready, or has ended."""
        record = self._container.record
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while is_alive(record.pid, record.start_time):
            if not poll.poll(_CHECK_EVERY_MS):
                continue
            if b"READY=1" in self._sock.recv(_MESSAGE_MAX_BYTES).split(b"\n"):
                _send(b"READY=1\nMAINPID=%d" % record.pid)
                return


def has_socket(container: Container) -> bool:
    """Whether `create` gave the container one."""
    return os.path.isdir(f"{container.directory}/notify")


def _send(message: bytes) -> None:
    address = os.environ[_VARIABLE]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.send(message)
