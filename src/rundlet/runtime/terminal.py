"""The container's pseudo-terminal (pts(4), ioctl_tty(2)), taken from its own devpts."""

import fcntl
import os
import struct
from typing import NamedTuple

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
    """A new pair; the slave is opened through the master, so no path of the container is trusted."""
    master = open_in_root(root_fd, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    os.fchown(slave, uid, -1)
    if height and width:
        set_size(master, height, width)
    return Terminal(master, slave)


def set_size(fd: int, height: int, width: int) -> None:
    """Rows and columns."""
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def make_controlling(slave: int) -> None:
    """Of this session, which setsid(2) has just begun."""
    fcntl.ioctl(slave, TIOCSCTTY, 0)
