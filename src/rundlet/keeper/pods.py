"""Pods: namespaces without a process, pinned by bind mounts.

The supervisor itself steps into the new namespaces and back again: it has one
thread, so nothing else can be caught in between, and no process has to be made.
A pod that shares its PID namespace gets the one process that such a namespace
cannot do without (`rundlet.runtime.pause`).

In a pod with a user namespace that one comes first and owns the others, so a short-lived
process inside it makes them: who has entered a user namespace cannot come back.  And an
ordinary user's supervisor cannot come back to the host's namespaces (`rundlet.keeper.visit`).
"""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.keeper.files import make_volatile, remove_volatile
from rundlet.keeper.identity import open_process, read_start_time
from rundlet.keeper.visit import Visits
from rundlet.kernel import capability, mount, namespace, prctl
from rundlet.kernel.clone import clone
from rundlet.plan.steps import IdMap
from rundlet.runtime.namespaces import sysctl_path
from rundlet.runtime.pause import open_program
from rundlet.runtime.userns import become_root, make_user_namespace, namespaces_owned_by
from rundlet.step import step

_KINDS = {"net": "network", "ipc": "ipc", "uts": "uts", "user": "user"}
_PINNED = ("net", "ipc", "uts")
_ERROR_MAX_BYTES = 1024
_PAUSE_UID = 65535
_NETLINK_ROUTE = 0


class PodPlan(NamedTuple):
    """What the namespaces of a pod are to be; `user` is (uid map, gid map), or None for the host's ids."""

    kinds: tuple[str, ...]
    hostname: str
    sysctls: Mapping[str, str]
    join_files: tuple[str, ...]
    user: tuple[IdMap, IdMap] | None = None

    @property
    def pinned(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.kinds if kind != "pid")


class Init(NamedTuple):
    """The one process of a pod that shares its PID namespace."""

    pid: int
    pidfd: int


class Pods:
    """The pods of one keeper; their state is the directory itself."""

    def __init__(self, directory: str, architecture: str) -> None:
        self._directory = directory
        self._architecture = architecture
        self._visits = Visits()

    def names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []

    def make(self, pod_id: str, plan: PodPlan) -> tuple[dict[str, str], int, list[int]]:
        """(paths by kind, pid of the init or 0, [netns fd, route socket fd] where "net" is asked for)."""
        unknown = set(plan.kinds) - {*_PINNED, "pid"}
        if unknown:
            raise InvalidArgument(f"pod {pod_id}: unknown namespace kinds {', '.join(sorted(unknown))}")
        directory = f"{self._directory}/{pod_id}"
        if not os.path.isdir(self._directory):
            with step("keeper.pods-mount"):
                make_volatile(self._directory)
        try:
            with step("keeper.pod-directory"):
                os.mkdir(directory, 0o700)
        except FileExistsError as error:
            raise AlreadyExists(f"pod {pod_id} has namespaces already") from error
        route_fds: list[int] = []
        try:
            if self._are_owned(plan):
                with step("keeper.pod-user"):
                    _pin_owned(directory, plan.user, plan.pinned)
            route_fds = self._furnish(directory, plan)
            paths = {kind: f"{directory}/{kind}" for kind in os.listdir(directory)}
            pid = self._start_init(directory, paths, plan.join_files) if "pid" in plan.kinds else 0
        except BaseException:
            _close_all(route_fds)
            self.remove(pod_id)
            raise
        if pid:
            paths["pid"] = f"/proc/{pid}/ns/pid"
        return paths, pid, route_fds

    def _furnish(self, directory: str, plan: PodPlan) -> list[int]:
        """Go into the pod's namespaces, new or made before, and set them up from inside."""

        def enter() -> None:
            if self._are_owned(plan):
                for kind in plan.pinned:
                    namespace.join(f"{directory}/{kind}", _flag(kind))
                return
            with step("keeper.pod-unshare"):
                namespace.unshare(sum(map(_flag, plan.pinned)))
            for kind in plan.pinned:
                with step(f"keeper.pod-pin-{kind}"):
                    _pin(f"/proc/self/ns/{kind}", f"{directory}/{kind}")

        route_fds = self._visits.pay(plan.pinned, enter, lambda: _set_up(plan))
        if not route_fds:
            return []
        return [os.open(f"{directory}/net", os.O_RDONLY | os.O_CLOEXEC), *route_fds]

    def _are_owned(self, plan: PodPlan) -> bool:
        """Whether a short-lived process makes them: they are another user namespace's, or nobody could return."""
        return bool(plan.pinned) and (plan.user is not None or not self._visits.can_return)

    def _start_init(self, directory: str, paths: Mapping[str, str], join_files: Sequence[str]) -> int:
        program = open_program(self._architecture)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        with step("keeper.pod-clone"):
            child = clone()
        if child.pid == 0:
            _make_init(program, paths, join_files, write_fd)
        os.close(program)
        os.close(write_fd)
        os.close(child.pidfd)
        with open(read_fd, encoding="utf-8", errors="replace") as report:
            told = dict(line.rstrip("\n").split(" ", 1) for line in report)
        os.waitpid(child.pid, 0)
        pid = int(told.get("pid", 0))
        if "ready" not in told or "error" in told:
            if pid:
                os.waitpid(pid, 0)
            raise FailedPrecondition(f"pod init: {told.get('error', 'it did not start')}")
        try:
            with step("keeper.pod-note-init"), open(f"{directory}/init", "w", encoding="ascii") as file:
                file.write(f"{pid} {read_start_time(pid)}")
        except BaseException:
            os.kill(pid, signal.SIGKILL)  # nobody would know of it, and nobody but it is in its namespace yet
            os.waitpid(pid, 0)
            raise
        return pid

    def _open_init(self, pod_id: str) -> Init | None:
        """None for a pod without a shared PID namespace, and when its init has gone."""
        try:
            with open(f"{self._directory}/{pod_id}/init", encoding="ascii") as file:
                pid, start_time = map(int, file.read().split())
        except FileNotFoundError:
            return None
        pidfd = open_process(pid, start_time)
        return Init(pid, pidfd) if pidfd >= 0 else None

    def kill_init(self, pod_id: str) -> Init | None:
        """Kill the init, and with it all that is left in its PID namespace; None when there is none.

        It ends when everything in the namespace has been reaped, which for containers
        and execs this very process has to do: the caller must not wait for it.
        """
        init = self._open_init(pod_id)
        if init:
            with step("keeper.pod-kill-init"):
                signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
        return init

    def open_socket(self, pod_id: str, family: int) -> socket.socket:
        """A TCP socket made inside the pod's network namespace, which it belongs to for ever."""
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise InvalidArgument(f"pod {pod_id}: no TCP over address family {family}")
        path = f"{self._directory}/{pod_id}/net"

        def enter() -> None:
            try:
                namespace.join(path, _flag("net"))
            except FileNotFoundError as error:
                raise NotFound(f"pod {pod_id} has no network namespace of its own") from error

        def work() -> tuple[int]:
            return (socket.socket(family, socket.SOCK_STREAM).detach(),)

        return socket.socket(fileno=self._visits.pay(("net",), enter, work)[0])

    def remove(self, pod_id: str) -> None:
        """Let go of the pod's namespaces; nothing to do when it is unknown."""
        directory = f"{self._directory}/{pod_id}"
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        for name in names:
            with step(f"keeper.pod-unpin-{name}"):
                _unpin(f"{directory}/{name}")
        with step("keeper.pod-rmdir"):
            os.rmdir(directory)

    def close(self) -> None:
        self._visits.close()

    def remove_directory(self) -> None:
        """When the keeper leaves; there are no pods then."""
        remove_volatile(self._directory)


def _set_up(plan: PodPlan) -> list[int]:
    """From inside; a route socket where there is a network."""
    if plan.hostname and "uts" in plan.kinds:
        namespace.set_hostname(plan.hostname)
    for name, value in plan.sysctls.items():
        _write_sysctl(name, value)
    if "net" not in plan.kinds:
        return []
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    return [socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE).detach()]


def _write_sysctl(name: str, value: str) -> None:
    path = sysctl_path(name)
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise FailedPrecondition(f"sysctl {name}={value}: {os.strerror(error.errno or 0).lower()}") from error


def _flag(kind: str) -> int:
    return namespace.KINDS[_KINDS[kind]].flag


def _pin(source: str, path: str) -> None:
    """Bind a namespace file of /proc to a file of its own; it lives as long as that mount."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    mount.mount(source, path, None, mount.MS_BIND)


def _pin_owned(directory: str, maps: tuple[IdMap, IdMap] | None, kinds: Sequence[str]) -> None:
    """Namespaces of `kinds` that belong to a new user namespace with these `maps`, or to this process's own."""
    userns_fd = -1
    try:
        if maps is not None:
            userns_fd = make_user_namespace(*maps)
        with namespaces_owned_by(userns_fd, sum(map(_flag, kinds))) as pid:
            for kind in (*(("user",) if maps else ()), *kinds):
                _pin(f"/proc/{pid}/ns/{kind}", f"{directory}/{kind}")
    except OSError as error:
        raise FailedPrecondition(f"pod user namespace: {error}") from error
    finally:
        if userns_fd >= 0:
            os.close(userns_fd)


def _unpin(path: str) -> None:
    try:
        mount.umount(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    except OSError:
        pass  # not a mount point: pinning it had failed
    os.unlink(path)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _make_init(program: int, paths: Mapping[str, str], join_files: Sequence[str], report_fd: int) -> NoReturn:
    """A step between: with the host's rights still, enter what the init is to be in, then make it.

    The init becomes the keeper's child.  The report has a line "pid N", and "error TEXT"
    from either of them when something failed; "ready" from the init is the last word before its program.
    """
    try:
        for file in join_files:
            with open(file, "w", encoding="ascii") as tasks:
                tasks.write("0")
        for kind in ("net", "ipc", "uts", "user"):
            if kind in paths:
                namespace.join(paths[kind], _flag(kind))
        if "user" in paths:
            become_root()
        with step("pod-init.unshare"):
            namespace.unshare(namespace.CLONE_NEWPID)
        last_capability = capability.last_capability()
        told, word = os.pipe2(os.O_CLOEXEC)
        child = clone(namespace.CLONE_NEWNS, sibling=True)
        if child.pid == 0:
            os.close(word)
            _await_word(told)
            _become_init(program, last_capability, report_fd)
        _tell_init(report_fd, child.pid)
        os.write(word, b"1")
    except BaseException as error:
        _report_failure(report_fd, error)
    finally:
        os._exit(0)


def _await_word(told: int) -> None:
    """In the init: of one that its maker did not live to tell of nobody would ever know."""
    if not os.read(told, 1):
        os._exit(1)


def _tell_init(report_fd: int, pid: int) -> None:
    """Whoever cannot be told of ends; the keeper still has to reap it."""
    line = b"pid %d\n" % pid
    try:
        with step("pod-init.tell"):
            os.write(report_fd, line)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.write(report_fd, line)
        raise


def _become_nobody(last_capability: int) -> None:
    """No user of any file; where a user namespace has no such id, its root without any capability."""
    try:
        os.setgroups([])
        os.setresgid(_PAUSE_UID, _PAUSE_UID, _PAUSE_UID)
        os.setresuid(_PAUSE_UID, _PAUSE_UID, _PAUSE_UID)
    except OSError:
        capability.limit_bounding(0, last_capability)
        capability.set_sets(0, 0, 0)


def _report_failure(report_fd: int, error: BaseException) -> None:
    os.write(report_fd, b"error %s\n" % str(error).replace("\n", " ").encode()[:_ERROR_MAX_BYTES])


def _become_init(program: int, last_capability: int, report_fd: int) -> NoReturn:
    """An empty read-only root and no rights: /proc/1/root must lead nowhere."""
    try:
        with step("pod-init.slave"):
            mount.mount(None, "/", None, mount.MS_REC | mount.MS_SLAVE)
        mount.mount("tmpfs", "/proc", "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "size=4k,mode=555")
        os.chdir("/proc")
        mount.pivot_root(".", ".")
        mount.umount(".", mount.MNT_DETACH)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.setsid()
        _become_nobody(last_capability)
        prctl.set_no_new_privs()
        with step("pod-init.execute"):
            os.write(report_fd, b"ready 1\n")
            os.execve(program, ["rundlet-pause"], {})
    except BaseException as error:
        _report_failure(report_fd, error)
    finally:
        os._exit(1)
