"""Pods: namespaces without a process, pinned by bind mounts.

The supervisor itself steps into the new namespaces and back again: it has one
thread, so nothing else can be caught in between, and no process has to be made.
A pod that shares its PID namespace gets the one process that such a namespace
cannot do without (`rundlet.runtime.pause`).
"""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.keeper.files import remove_empty
from rundlet.kernel import mount, namespace, prctl
from rundlet.kernel.clone import clone
from rundlet.runtime.namespaces import sysctl_path
from rundlet.runtime.pause import open_program

_KINDS = {"net": "network", "ipc": "ipc", "uts": "uts"}
_PAUSE_UID = 65535
_NETLINK_ROUTE = 0


class Init(NamedTuple):
    """The one process of a pod that shares its PID namespace."""

    pid: int
    pidfd: int


class Pods:
    """The pods of one keeper; their state is the directory itself."""

    def __init__(self, directory: str, architecture: str) -> None:
        self._directory = directory
        self._architecture = architecture
        self._home = {kind: os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _KINDS}

    def names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []

    def make(
        self,
        pod_id: str,
        kinds: Sequence[str],
        hostname: str,
        sysctls: Mapping[str, str],
        join_files: Sequence[str],
    ) -> tuple[dict[str, str], int, list[int]]:
        """(paths by kind, pid of the init or 0, [netns fd, route socket fd] where "net" is asked for)."""
        unknown = set(kinds) - {*_KINDS, "pid"}
        if unknown:
            raise InvalidArgument(f"pod {pod_id}: unknown namespace kinds {', '.join(sorted(unknown))}")
        directory = f"{self._directory}/{pod_id}"
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError as error:
            raise AlreadyExists(f"pod {pod_id} has namespaces already") from error
        route_fds: list[int] = []
        try:
            pinned = [kind for kind in kinds if kind != "pid"]
            route_fds = self._pin(directory, pinned, hostname, sysctls)
            paths = {kind: f"{directory}/{kind}" for kind in pinned}
            pid = self._start_init(directory, paths, join_files) if "pid" in kinds else 0
        except BaseException:
            _close_all(route_fds)
            self.remove(pod_id)
            raise
        if pid:
            paths["pid"] = f"/proc/{pid}/ns/pid"
        return paths, pid, route_fds

    def _pin(
        self, directory: str, kinds: Sequence[str], hostname: str, sysctls: Mapping[str, str]
    ) -> list[int]:
        """Make the namespaces and pin each to a file, from inside; then come home."""
        flags = sum(namespace.KINDS[_KINDS[kind]].flag for kind in kinds)
        route: socket.socket | None = None
        try:
            namespace.unshare(flags)
            if hostname and "uts" in kinds:
                namespace.set_hostname(hostname)
            for name, value in sysctls.items():
                _write_sysctl(name, value)
            for kind in kinds:
                os.close(
                    os.open(f"{directory}/{kind}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                )
                mount.mount(f"/proc/self/ns/{kind}", f"{directory}/{kind}", None, mount.MS_BIND)
            if "net" in kinds:
                route = socket.socket(
                    socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
                )
        except OSError as error:
            raise FailedPrecondition(f"pod namespaces: {error}") from error
        finally:
            self._return_home(kinds)
        if route is None:
            return []
        return [os.open(f"{directory}/net", os.O_RDONLY | os.O_CLOEXEC), route.detach()]

    def _return_home(self, kinds: Sequence[str]) -> None:
        """A supervisor that cannot get back must not go on: it would start containers in a pod's network."""
        try:
            for kind in kinds:
                namespace.setns(self._home[kind])
        except OSError:
            os._exit(70)

    def _start_init(self, directory: str, paths: Mapping[str, str], join_files: Sequence[str]) -> int:
        program = open_program(self._architecture)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        child = clone(namespace.CLONE_NEWPID | namespace.CLONE_NEWNS)
        if child.pid == 0:
            _become_init(program, directory, paths, join_files, write_fd)
        os.close(program)
        os.close(write_fd)
        os.close(child.pidfd)
        failure = os.read(read_fd, 4096)
        os.close(read_fd)
        if failure:
            os.waitpid(child.pid, 0)
            raise FailedPrecondition(f"pod init: {failure.decode(errors='replace')}")
        with open(f"{directory}/init", "w", encoding="ascii") as file:
            file.write(str(child.pid))
        return child.pid

    def init_pid(self, pod_id: str) -> int:
        """0 for a pod without a shared PID namespace."""
        try:
            with open(f"{self._directory}/{pod_id}/init", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return 0

    def kill_init(self, pod_id: str) -> Init | None:
        """Kill the init, and with it all that is left in its PID namespace; None when there is none.

        It ends when everything in the namespace has been reaped, which for containers
        and execs this very process has to do: the caller must not wait for it.
        """
        pid = self.init_pid(pod_id)
        try:
            init = Init(pid, os.pidfd_open(pid)) if pid else None
        except ProcessLookupError:
            return None
        if init:
            signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
        return init

    def open_socket(self, pod_id: str, family: int) -> socket.socket:
        """A TCP socket made inside the pod's network namespace, which it belongs to for ever."""
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise InvalidArgument(f"pod {pod_id}: no TCP over address family {family}")
        path = f"{self._directory}/{pod_id}/net"
        try:
            namespace.join(path, namespace.KINDS[_KINDS["net"]].flag)
        except FileNotFoundError as error:
            raise NotFound(f"pod {pod_id} has no network namespace of its own") from error
        try:
            return socket.socket(family, socket.SOCK_STREAM)
        finally:
            self._return_home(("net",))

    def remove(self, pod_id: str) -> None:
        """Let go of the pod's namespaces; nothing to do when it is unknown."""
        directory = f"{self._directory}/{pod_id}"
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        for name in names:
            _unpin(f"{directory}/{name}")
        os.rmdir(directory)

    def close(self) -> None:
        _close_all(list(self._home.values()))

    def remove_directory(self) -> None:
        """When the keeper leaves; there are no pods then."""
        remove_empty(self._directory)


def _write_sysctl(name: str, value: str) -> None:
    path = sysctl_path(name)
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise FailedPrecondition(f"sysctl {name}={value}: {os.strerror(error.errno or 0).lower()}") from error


def _unpin(path: str) -> None:
    try:
        mount.umount(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    except OSError:
        pass  # not a mount point: pinning it had failed
    os.unlink(path)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _become_init(
    program: int, directory: str, paths: Mapping[str, str], join_files: Sequence[str], failure_fd: int
) -> NoReturn:
    """An empty read-only root, the pod's other namespaces, no rights: /proc/1/root must lead nowhere."""
    try:
        for file in join_files:
            with open(file, "w", encoding="ascii") as tasks:
                tasks.write("0")
        for kind, path in paths.items():
            namespace.join(path, namespace.KINDS[_KINDS[kind]].flag)
        mount.mount(None, "/", None, mount.MS_REC | mount.MS_SLAVE)
        mount.mount("tmpfs", directory, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "size=4k,mode=555")
        os.chdir(directory)
        mount.pivot_root(".", ".")
        mount.umount(".", mount.MNT_DETACH)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.setsid()
        os.setgroups([])
        os.setresgid(_PAUSE_UID, _PAUSE_UID, _PAUSE_UID)
        os.setresuid(_PAUSE_UID, _PAUSE_UID, _PAUSE_UID)
        prctl.set_no_new_privs()
        os.execve(program, ["rundlet-pause"], {})
    except BaseException as error:
        os.write(failure_fd, str(error).encode()[:4096])
    finally:
        os._exit(1)
