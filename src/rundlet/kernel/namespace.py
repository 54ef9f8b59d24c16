"""unshare(2), setns(2) and sethostname(2): the namespaces(7) of this process.

`KINDS` maps the runtime-spec's names to the CLONE_NEW* flag and to the name of
the file under /proc/PID/ns.
"""

import ctypes
import os
from typing import NamedTuple

from rundlet.kernel.libc import LIBC, os_error

_ALL_IDS = (0, 0, 0xFFFFFFFF)  # the first namespace's mapping, and that of a child with all its ids

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# Looked up once here: a look-up in a freshly cloned child costs it a page of memory and 0.1 ms.
_unshare = LIBC.unshare
_setns = LIBC.setns
_sethostname = LIBC.sethostname
_setdomainname = LIBC.setdomainname


class Kind(NamedTuple):
    flag: int
    file: str


KINDS: dict[str, Kind] = {
    "mount": Kind(CLONE_NEWNS, "mnt"),
    "pid": Kind(CLONE_NEWPID, "pid"),
    "network": Kind(CLONE_NEWNET, "net"),
    "ipc": Kind(CLONE_NEWIPC, "ipc"),
    "uts": Kind(CLONE_NEWUTS, "uts"),
    "cgroup": Kind(CLONE_NEWCGROUP, "cgroup"),
    "user": Kind(CLONE_NEWUSER, "user"),
    "time": Kind(CLONE_NEWTIME, "time"),
}


def unshare(flags: int) -> None:
    """unshare(2): leave the namespaces named by CLONE_NEW* flags for new ones."""
    if _unshare(ctypes.c_int(flags)) < 0:
        raise os_error(f"unshare {flags:#x}")


def setns(fd: int, flags: int = 0) -> None:
    """setns(2): join the namespace open on `fd`, or with a pidfd those in `flags`."""
    if _setns(ctypes.c_int(fd), ctypes.c_int(flags)) < 0:
        raise os_error(f"setns {flags:#x}")


def join(path: str, flag: int) -> None:
    """Join the namespace pinned at `path`; the kernel checks that it is of kind `flag`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, flag)
    finally:
        os.close(fd)


def set_hostname(name: str) -> None:
    """sethostname(2) in this process's UTS namespace."""
    raw = os.fsencode(name)
    if _sethostname(raw, ctypes.c_size_t(len(raw))) < 0:
        raise os_error("sethostname", name)


def set_domainname(name: str) -> None:
    """setdomainname(2) in this process's UTS namespace."""
    raw = os.fsencode(name)
    if _setdomainname(raw, ctypes.c_size_t(len(raw))) < 0:
        raise os_error("setdomainname", name)


def pid_of(pidfd: int) -> int:
    """The process that a pidfd is open on; ProcessLookupError when it has gone."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        pid = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
    if pid <= 0:
        raise ProcessLookupError(3, "the process has ended")
    return pid


def in_user_namespace() -> bool:
    """Whether ids here are not all ids there are: this process lives in a user namespace below the first one."""
    return _read_map("uid_map") != [_ALL_IDS]


def _read_map(name: str) -> list[tuple[int, ...]]:
    """(first id here, first id outside, how many) of "uid_map" or "gid_map"."""
    try:
        with open(f"/proc/self/{name}", "rb") as file:
            return [tuple(map(int, line.split())) for line in file]
    except FileNotFoundError:
        return [_ALL_IDS]  # a kernel without user namespaces


def outer_uid() -> int:
    """Whose process this is outside of its user namespace, as the one around it has it."""
    uid = os.getuid()
    rows = _read_map("uid_map")
    return next((outside + uid - inside for inside, outside, count in rows if 0 <= uid - inside < count), uid)


def is_mapped(name: str, number: int) -> bool:
    """Whether this user namespace has that id; `name` is "uid_map" or "gid_map"."""
    return any(0 <= number - inside < count for inside, _, count in _read_map(name))


def list_mapped(name: str) -> list[tuple[int, int]]:
    """The ids of this user namespace as (first, how many), a row of the map each; `name` as for `is_mapped`."""
    return sorted((inside, count) for inside, _, count in _read_map(name))


def can_give_away() -> bool:
    """Whether this process may give files to other users: root, where there is any other."""
    if os.geteuid():
        return False
    return sum(row[2] for row in _read_map("uid_map")) > 1


def can_make_devices() -> bool:
    """Whether mknod(2) makes devices here: for root of the first user namespace only."""
    return os.geteuid() == 0 and not in_user_namespace()


def is_same(pid: int, file: str) -> bool:
    """Whether this process shares the namespace `file` ("user" …) with process `pid`."""
    return os.readlink(f"/proc/{pid}/ns/{file}") == os.readlink(f"/proc/self/ns/{file}")
