"""User namespaces: mappings, and namespaces that exist only to carry one (user_namespaces(7))."""

import os
import resource
import signal
from collections.abc import Iterable
from typing import NoReturn

from rundlet.kernel import namespace
from rundlet.kernel.clone import clone
from rundlet.plan.attributes import SetLimit
from rundlet.plan.steps import IdMap
from rundlet.runtime.context import write_file
from rundlet.runtime.process import set_limits


def write_mappings(pid: int, uid_map: IdMap, gid_map: IdMap) -> None:
    """Of the user namespace of process `pid`, once for all; needs CAP_SETUID and CAP_SETGID outside."""
    for name, mapping in (("uid_map", uid_map), ("gid_map", gid_map)):
        write_file(f"/proc/{pid}/{name}", "".join(f"{a} {b} {count}\n" for a, b, count in mapping))


def read_mapping(pid: int, name: str) -> IdMap:
    """`name` is uid_map or gid_map."""
    with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
        rows = [tuple(map(int, line.split())) for line in file]
    return tuple((row[0], row[1], row[2]) for row in rows)


def make_user_namespace(uid_map: IdMap, gid_map: IdMap) -> int:
    """A user namespace with these mappings and nobody in it, open; it lasts as long as the descriptor."""
    with _WaitingChild(namespace.CLONE_NEWUSER) as child:
        write_mappings(child, uid_map, gid_map)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def read_mappings_of(userns_fd: int) -> tuple[IdMap, IdMap]:
    """(uids, gids) of an existing user namespace, told by a child that goes there to look."""
    with _WaitingChild(0, userns_fd) as child:
        return read_mapping(child, "uid_map"), read_mapping(child, "gid_map")


def namespaces_owned_by(userns_fd: int, flags: int) -> "_WaitingChild":
    """The pid of a process in the user namespace with new namespaces (CLONE_NEW* flags) that belong to it.

    It lives until the `with` block ends; what was pinned by then lives on.
    """
    return _WaitingChild(0, userns_fd, flags)


def raise_limits(limits: Iterable[SetLimit]) -> None:
    """Hard limits above this process's own, before it enters a user namespace: there nobody may raise them."""
    for limit in limits:
        soft, hard = resource.getrlimit(limit.resource)
        if hard != -1 and (limit.hard == -1 or limit.hard > hard):
            set_limits([limit._replace(soft=soft)])


def become_root() -> None:
    """Of the user namespace; where it has no id 0, the process stays what it is, with all capabilities there."""
    for change in (os.setresgid, os.setresuid):
        try:
            change(0, 0, 0)
        except OSError:
            pass  # EINVAL: 0 is not mapped


class _WaitingChild:
    """A process that does nothing, in new namespaces or in the given user namespace, until the block ends.

    `inner_flags` are namespaces that it makes when it is there.  The block has its pid in the /proc in
    sight, which may be the host's while this process lives in a container's PID namespace already.
    (No contextmanager: that module brings four others, and the keeper has no other use for them.)
    """

    def __init__(self, flags: int, userns_fd: int = -1, inner_flags: int = 0) -> None:
        self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        self._child = clone(flags)
        if self._child.pid == 0:
            _wait_inside(userns_fd, inner_flags, write_fd)
        os.close(write_fd)

    def __enter__(self) -> int:
        if os.read(self._read_fd, 1):
            return namespace.pid_of(self._child.pidfd)
        self.__exit__()
        raise PermissionError(1, "the user namespace cannot be entered")

    def __exit__(self, *_: object) -> None:
        os.close(self._read_fd)
        signal.pidfd_send_signal(self._child.pidfd, signal.SIGKILL)
        os.waitpid(self._child.pid, 0)
        os.close(self._child.pidfd)


def _wait_inside(userns_fd: int, inner_flags: int, write_fd: int) -> NoReturn:
    try:
        if userns_fd >= 0:
            namespace.setns(userns_fd, namespace.CLONE_NEWUSER)
        if inner_flags:
            namespace.unshare(inner_flags)
        os.write(write_fd, b"1")
        while True:
            signal.pause()
    finally:
        os._exit(1)
