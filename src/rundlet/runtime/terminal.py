"""The container's pseudo-terminal (pts(4), ioctl_tty(2)), taken from its own devpts."""

import fcntl
import os
import struct
from typing import NamedTuple

from rundlet.errors import FailedPrecondition
from rundlet.kernel.openat2 import open_in_root

TIOCSCTTY = 0x540E
TIOCSWINSZ = 0x5414
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441


class Terminal(NamedTuple):
    """`master` goes to the keeper, `slave` becomes stdin, stdout and stderr."""

    master: int
    slave: int


def open_terminal(root_fd: int, height: int, width: int, uid: int) -> Terminal:
    """A new pair; the slave is opened through the master, so no path of the container is trusted.

    Raises FailedPrecondition when the container has no devpts on /dev/pts.
    """
    try:
        master = open_in_root(root_fd, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FailedPrecondition(
            "terminal: the container has no /dev/pts/ptmx", hint="mount a devpts on /dev/pts"
        ) from error
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if uid:
        os.fchown(slave, uid, -1)
    if height and width:
        set_size(master, height, width)
    return Terminal(master, slave)


def open_terminal_here(height: int, width: int, uid: int) -> Terminal:
    """As `open_terminal`, for a process whose root is the container's already."""
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_terminal(root_fd, height, width, uid)
    finally:
        os.close(root_fd)


def set_size(fd: int, height: int, width: int) -> None:
    """Rows and columns."""
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def make_controlling(slave: int) -> None:
    """Of this session, which setsid(2) has just begun."""
    fcntl.ioctl(slave, TIOCSCTTY, 0)
