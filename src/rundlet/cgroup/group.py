"""A control group: one directory in each hierarchy that the layout has.

Sources: cgroups(7), Documentation/admin-guide/cgroup-v1/{cgroups,cpusets,freezer-subsystem}.rst
and cgroup-v2.rst of the kernel.
"""

import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator

from rundlet.cgroup.files import describe_fault, read_text, write_text
from rundlet.cgroup.layout import Layout
from rundlet.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from rundlet.plan.knobs import DEVICE_PROGRAM, filter_writes

_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
_LONGEST_NAP_S = 0.02


def parse_group_path(text: str) -> str:
    """`text` (cgroupsPath, cgroup parent) without doubled or trailing slashes.

    Raises InvalidArgument for systemd's notation and for paths that climb.
    """
    if text.count(":") == 2 and not text.startswith("/"):
        raise InvalidArgument(
            f"cgroup path {text!r} is in the systemd driver's notation slice:prefix:name",
            hint="choose the systemd driver, or an absolute path like /kubepods/pod1",
        )
    if text.endswith(".slice") and "/" not in text:
        raise InvalidArgument(
            f"cgroup path {text!r} is a systemd slice",
            hint="the systemd driver takes slice:prefix:name; cgroupfs an absolute path like /kubepods/pod1",
        )
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in text or "\n" in text:
        raise InvalidArgument(f"cgroup path {text!r} must not hold '..', newline or NUL")
    if not names:
        raise InvalidArgument(f"cgroup path {text!r} names no group below the root")
    return ("/" if text.startswith("/") else "") + "/".join(names)


class Group:
    """The group at `path` of every hierarchy of `layout`.

    An absolute path counts from the mount points, a relative one from this
    process's own group.  Making the object touches nothing.
    """

    __slots__ = ("_directories", "layout", "path")

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout = layout
        self.path = parse_group_path(path)
        self._directories = {name: self._locate(name) for name in layout.mounts}

    def _locate(self, controller: str) -> str:
        base = self.layout.mounts[controller].rstrip("/")
        if self.path.startswith("/"):
            return base + self.path
        return f"{base}{self.layout.own[controller].rstrip('/')}/{self.path}"

    def directories(self) -> dict[str, str]:
        """{controller: directory}; controllers mounted together share one."""
        return dict(self._directories)

    def _unique(self) -> list[str]:
        return list(dict.fromkeys(self._directories.values()))

    def directory(self, controller: str) -> str:
        """The group's directory for a controller; NotFound when the host lacks it."""
        try:
            return self._directories[controller if self.layout.version == 1 else ""]
        except KeyError:
            raise NotFound(f"cgroup {self.path}: controller {controller} is not mounted") from None

    def exists(self) -> bool:
        """Whether any of its directories is there."""
        return any(map(os.path.isdir, self._unique()))

    def make(self) -> None:
        """Make the directories that are missing, ready for processes; undone on failure.

        Version 1 cpusets start as their parent's (empty ones take no process);
        on version 2 the controllers are handed down to the group.
        """
        made: list[str] = []
        try:
            for controller, mount in self.layout.mounts.items():
                self._make_below(controller, mount, made)
        except OSError as error:
            _remove_quietly(reversed(made))
            raise describe_fault(error, f"make cgroup {self.path}") from error

    def _make_below(self, controller: str, mount: str, made: list[str]) -> None:
        """The group in one hierarchy; on version 1 its parents are mostly there already."""
        directory = self._directories[controller]
        if self.layout.version == 1:
            try:
                self._make_one(controller, directory, made)
                return
            except FileNotFoundError:
                pass
        for step in _walk_down(mount, directory):
            self._make_one(controller, step, made)

    def _make_one(self, controller: str, directory: str, made: list[str]) -> None:
        if self.layout.version == 2 and controller == "":
            _hand_down(os.path.dirname(directory))
        try:
            os.mkdir(directory, 0o755)
            made.append(directory)
        except FileExistsError:
            pass
        if self.layout.version == 1 and controller == "cpuset":
            _inherit_cpuset(directory)

    def settle(self) -> None:
        """The first process has joined: what kept the group alive until then can go."""

    def write(self, controller: str, file: str, value: str) -> None:
        """Write one knob of the group, or attach a device program (version 2).

        Raises NotFound when the host lacks it, InvalidArgument when the kernel
        refuses the value, FailedPrecondition when it cannot be so now.
        """
        if file == DEVICE_PROGRAM:
            self._attach_devices(value)
            return
        path = f"{self.directory(controller)}/{file}"
        try:
            write_text(path, value)
        except OSError as error:
            raise describe_fault(error, f"cgroup {self.path}: write {value!r} to {file}") from error

    def _attach_devices(self, program: str) -> None:
        import binascii

        from rundlet.cgroup.devices import set_device_program  # version 2 alone has use for it

        try:
            set_device_program(self.directory(""), binascii.a2b_base64(program))
        except OSError as error:
            raise describe_fault(error, f"cgroup {self.path}: attach the device program") from error

    def has(self, controller: str, file: str) -> bool:
        """Whether the group has the knob, or the controller for ""; the group must exist."""
        if controller not in self._directories:
            return False
        directory = self._directories[controller]
        if file or self.layout.version == 1 or not controller:
            return os.path.exists(f"{directory}/{file}")
        try:
            return controller in read_text(f"{directory}/cgroup.controllers").split()
        except OSError:
            return False

    def open_fd(self) -> int:
        """A close-on-exec descriptor of the version 2 directory, for clone3(CLONE_INTO_CGROUP).

        Raises NotFound on version 1, where a process cannot be born into a group.
        """
        try:
            return os.open(self._directories[""], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except KeyError:
            raise NotFound(f"cgroup {self.path}: only version 2 groups can be opened") from None
        except OSError as error:
            raise describe_fault(error, f"open cgroup {self.path}") from error

    def apply(self, writes: Iterable[tuple[str, str, str]]) -> None:
        """Do (controller, file, value) writes in order, as far as `filter_writes` lets them.

        Raises FailedPrecondition for a limit that this host cannot keep.

        What is refused gets a second try after the rest: memory.limit_in_bytes
        may not pass memory.memsw.limit_in_bytes, nor a quota its parent's ratio
        over the period, so raising needs another order than lowering.
        """
        again: list[tuple[str, str, str]] = []
        for controller, file, value in list(filter_writes(writes, self.has)):
            try:
                self.write(controller, file, value)
            except (InvalidArgument, FailedPrecondition):
                again.append((controller, file, value))
        for controller, file, value in again:
            self.write(controller, file, value)

    def join_files(self) -> tuple[str, ...]:
        """The files to which a process writes "0" to move itself into the group.

        Version 1 takes `tasks`, which a single-threaded process can use and
        which is some hundred times faster than `cgroup.procs`.
        """
        file = "tasks" if self.layout.version == 1 else "cgroup.procs"
        return tuple(f"{directory}/{file}" for directory in self._unique())

    def _watched(self) -> str:
        """The directory that is asked which processes there are."""
        for controller in ("", "freezer", "pids", "memory"):
            if controller in self._directories:
                return self._directories[controller]
        return self._unique()[0]

    def pids(self, *, recursive: bool = False) -> list[int]:
        """Processes of the group, and with `recursive` of those below; empty when it is gone."""
        if not self._directories:
            return []
        found = self._watched()
        directories = _walk_tree(found) if recursive else iter([found])
        return sorted({pid for directory in directories for pid in _read_pids(directory)})

    def kill(self, *, timeout_s: float = 5.0, spared: int = 0) -> None:
        """SIGKILL every process of the group and below, also those being forked, but for `spared`.

        Returns when they are gone or only wait for their parent; raises
        DeadlineExceeded after `timeout_s` (uninterruptible processes).
        """
        if os.getpid() in self.pids(recursive=True):
            raise FailedPrecondition(f"kill cgroup {self.path}: the calling process is in it")
        deadline = time.monotonic() + timeout_s
        for nap_s in _naps():
            pids = self._list_but(spared)
            if not pids:
                return
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"kill cgroup {self.path}: {len(pids)} processes do not die")
            self._kill_once(pids, spared)
            time.sleep(nap_s)

    def _list_but(self, spared: int) -> list[int]:
        return [pid for pid in self.pids(recursive=True) if pid != spared]

    def _kill_once(self, pids: list[int], spared: int) -> None:
        """One round: all at once where the kernel can, else frozen so that no fork slips through."""
        try:
            if not spared:
                write_text(f"{self._watched()}/cgroup.kill", "1")
                return
        except OSError:
            pass
        self._set_frozen(True)
        try:
            for pid in self._list_but(spared) or pids:
                _signal_quietly(pid)
        finally:
            self._set_frozen(False)

    def freeze(self, *, timeout_s: float = 2.0) -> None:
        """Stop every process of the group; thawed again when that takes longer than `timeout_s`."""
        self._demand_frozen(True)
        deadline = time.monotonic() + timeout_s
        for nap_s in _naps():
            if self.is_frozen():
                return
            if time.monotonic() > deadline:
                self._set_frozen(False)
                raise DeadlineExceeded(f"freeze cgroup {self.path}: not frozen after {timeout_s:g} s")
            time.sleep(nap_s)

    def thaw(self) -> None:
        """Let the processes of the group run on."""
        self._demand_frozen(False)

    def is_frozen(self) -> bool:
        """Whether all processes of the group have stopped; raises NotFound when it is gone."""
        version = self.layout.version
        path = f"{self.directory('freezer')}/{'freezer.state' if version == 1 else 'cgroup.events'}"
        try:
            text = read_text(path)
        except OSError as error:
            raise describe_fault(error, f"cgroup {self.path}: read the freezer") from error
        return text.strip() == "FROZEN" if version == 1 else "frozen 1" in text.splitlines()

    def _demand_frozen(self, frozen: bool) -> None:
        if self.layout.version == 1:
            self.write("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            self.write("", "cgroup.freeze", "1" if frozen else "0")

    def _set_frozen(self, frozen: bool) -> None:
        """As `_demand_frozen`, where the host can."""
        try:
            self._demand_frozen(frozen)
        except (NotFound, FailedPrecondition):
            pass

    def remove(self, *, timeout_s: float = 2.0) -> None:
        """Remove the group and all below it; nothing to do when it is gone.

        A group stays busy for a moment after its last process has died.  Raises
        FailedPrecondition when it still is after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        for directory in self._unique():
            self._remove_tree(directory, deadline)

    def _remove_tree(self, directory: str, deadline: float) -> None:
        if _remove_quietly([directory]) is None:
            return
        for nap_s in _naps():
            fault = _remove_quietly(reversed(list(_walk_tree(directory))))
            if fault is None:
                return
            if fault.errno not in (errno.EBUSY, errno.ENOTEMPTY) or time.monotonic() > deadline:
                raise describe_fault(fault, f"remove cgroup {self.path}") from fault
            time.sleep(nap_s)


def _naps() -> Iterator[float]:
    """Pauses that double up to the longest; cgroup files of version 1 cannot be polled."""
    nap_s = 0.0005
    while True:
        yield nap_s
        nap_s = min(nap_s * 2, _LONGEST_NAP_S)


def _walk_down(mount: str, directory: str) -> Iterator[str]:
    """The directories from below `mount` to `directory`, top first."""
    base = mount.rstrip("/")
    for name in directory[len(base) + 1 :].split("/"):
        base = f"{base}/{name}"
        yield base


def _walk_tree(directory: str) -> Iterator[str]:
    """`directory` and all below it, parents first; what vanishes meanwhile is left out."""
    waiting = [directory]
    while waiting:
        current = waiting.pop()
        yield current
        try:
            with os.scandir(current) as entries:
                waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue


def _remove_quietly(directories: Iterable[str]) -> OSError | None:
    """rmdir each; the first real failure."""
    fault = None
    for directory in directories:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            fault = fault or error
    return fault


def _inherit_cpuset(directory: str) -> None:
    parent = os.path.dirname(directory)
    for file in _CPUSET_FILES:
        if not read_text(f"{directory}/{file}").strip():
            write_text(f"{directory}/{file}", read_text(f"{parent}/{file}").strip())


def _hand_down(directory: str) -> None:
    """Enable every controller that `directory` has for its children (cgroup-v2.rst, "Enabling")."""
    have = set(read_text(f"{directory}/cgroup.controllers").split())
    given = set(read_text(f"{directory}/cgroup.subtree_control").split())
    for controller in sorted(have - given):
        try:
            write_text(f"{directory}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            # A group with processes of its own, or a controller that cannot be
            # handed down: only a limit of that controller is then out of reach.
            if error.errno not in (errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
                raise


def _read_pids(directory: str) -> list[int]:
    try:
        text = read_text(f"{directory}/cgroup.procs")
    except OSError:
        return []
    # A process outside this pid namespace reads as 0.
    return [int(word) for word in text.split() if word != "0"]


def _signal_quietly(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
