"""Groups that systemd makes: a transient scope for each container.

Sources: org.freedesktop.systemd1(5), systemd.scope(5), systemd.slice(5), systemd's
"Control Group APIs and Delegation".

    "machine-a.slice:rundlet:web"   →   /machine.slice/machine-a.slice/rundlet-web.scope
     slice           prefix  name       a slice lies in the slice that it is named after
    "/machine.slice/machine-a.slice"        the slice itself, a unit of its own

A scope needs a process from its first moment and goes with its last one.  So a
holder, a child of ours that sleeps, is put into it; the container's processes join
by themselves as in any other group, and then `settle` ends the holder.
"""

import json
import os
import re
import signal
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from rundlet.cgroup.bus import PRIVATE_SOCKET, SYSTEM_BUS, Bus
from rundlet.cgroup.dbus import Message, Variant
from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout
from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from rundlet.kernel import prctl
from rundlet.plan.knobs import UNIT, Write

_DEFAULT_SLICE = "system.slice"
_UNIT_NAME = re.compile(r"[a-zA-Z0-9:_.\\-]{1,255}")
_MANAGER = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_INTERFACE = "org.freedesktop.systemd1.Manager"
_MATCH = f"type='signal',sender='{_MANAGER}',interface='{_INTERFACE}',member='JobRemoved'"


class UnitPath(NamedTuple):
    """Where systemd is to put a group."""

    slice: str
    unit: str


def is_unit_path(text: str) -> bool:
    """Whether a cgroupsPath is in the notation slice:prefix:name."""
    return not text.startswith("/") and text.count(":") == 2


def parse_unit_path(text: str) -> UnitPath:
    """slice:prefix:name, of which slice and prefix may be empty, as the slice and the scope's name.

    Raises InvalidArgument.
    """
    if not is_unit_path(text):
        raise InvalidArgument(f"cgroup path {text!r}: the systemd driver takes slice:prefix:name")
    slice_name, prefix, name = text.split(":")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not name or not _UNIT_NAME.fullmatch(unit) or unit.startswith("."):
        raise InvalidArgument(f"cgroup path {text!r}: {unit!r} cannot be the name of a unit")
    slice_name = slice_name or _DEFAULT_SLICE
    expand_slice(slice_name)
    return UnitPath(slice_name, unit)


def expand_slice(name: str) -> str:
    """The path of a slice: "a-b.slice" lies in "a.slice"; "-.slice" is the root, "".

    Raises InvalidArgument for what is no slice.
    """
    stem = name.removesuffix(".slice")
    if name == "-.slice":
        return ""
    parts = stem.split("-")
    if stem == name or not _UNIT_NAME.fullmatch(name) or not all(parts) or ".." in name:
        raise InvalidArgument(f"{name!r} is not the name of a systemd slice")
    return "".join(f"/{'-'.join(parts[:end])}.slice" for end in range(1, len(parts) + 1))


def is_running() -> bool:
    """Whether systemd manages this machine (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def is_slice(path: str) -> bool:
    """Whether the group at an absolute path is a slice of systemd, which runs here."""
    return path.endswith(".slice") and is_running()


def open_group(layout: Layout, path: str, *, threaded: bool = False) -> Group:
    """The group of a path or a cgroupsPath in either notation; touches nothing.

    `threaded`: this process has threads, so it must not fork.
    """
    if is_unit_path(path):
        return SystemdGroup(layout, path, threaded=threaded)
    return SystemdSlice(layout, path) if is_slice(path) else Group(layout, path)


class Manager:
    """systemd's manager object; close it."""

    __slots__ = ("_bus",)

    def __init__(self, address: str = "", *, timeout_s: float = 10.0) -> None:
        """Connect to `address`, or where systemd is usually found.

        Raises Unavailable when it is nowhere, PermissionDenied when we are refused.
        """
        address = address or _find_address()
        self._bus = Bus(address, timeout_s=timeout_s)
        try:
            if address != PRIVATE_SOCKET:
                self._bus.greet()
                self._bus.watch(_MATCH)
            self._call("Subscribe")
        except BaseException:
            self._bus.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bus.close()

    def start_scope(self, unit: str, properties: Iterable[tuple[str, Variant]]) -> None:
        """StartTransientUnit, until its job is done.

        Raises AlreadyExists, or FailedPrecondition when the job fails.
        """
        nothing: list[object] = []
        arguments = ("ssa(sv)a(sa(sv))", unit, "fail", list(properties), nothing)
        try:
            job = self._call("StartTransientUnit", *arguments)[0]
        except AlreadyExists:
            self.reset_failed(unit)  # what is left of a scope of that name that failed
            job = self._call("StartTransientUnit", *arguments)[0]
        self._await_job(job, f"start {unit}")

    def start(self, unit: str) -> None:
        """StartUnit, until its job is done; nothing happens when it runs."""
        job = self._call("StartUnit", "ss", unit, "replace")[0]
        self._await_job(job, f"start {unit}")

    def stop(self, unit: str) -> None:
        """StopUnit, until its job is done, and forget that it failed; nothing happens when it is unknown."""
        try:
            job = self._call("StopUnit", "ss", unit, "replace")[0]
        except NotFound:
            return
        self._await_job(job, f"stop {unit}")
        self.reset_failed(unit)

    def reset_failed(self, unit: str) -> None:
        try:
            self._call("ResetFailedUnit", "s", unit)
        except (NotFound, FailedPrecondition):
            pass

    def set_properties(self, unit: str, properties: Iterable[tuple[str, Variant]]) -> None:
        """SetUnitProperties, until the next boot."""
        self._call("SetUnitProperties", "sba(sv)", unit, True, list(properties))

    def read_property(self, unit: str, interface: str, name: str) -> Any:
        """A property's value; `interface` is "Unit", "Scope" or "Slice"; raises NotFound."""
        (path,) = self._call("GetUnit", "s", unit)
        full = f"{_MANAGER}.{interface}"
        (variant,) = self._bus.call(
            _MANAGER, path, "org.freedesktop.DBus.Properties", "Get", "ss", full, name
        )
        return variant.value

    def _call(self, member: str, signature: str = "", *body: Any) -> tuple[Any, ...]:
        return self._bus.call(_MANAGER, _PATH, _INTERFACE, member, signature, *body)

    def _await_job(self, job: str, what: str) -> None:
        def is_ours(message: Message) -> bool:
            return message.member == "JobRemoved" and len(message.body) == 4 and message.body[1] == job

        result = self._bus.await_signal(is_ours).body[3]
        if result not in ("done", "skipped"):
            raise FailedPrecondition(f"systemd could not {what}: its job ended as {result!r}")


def _find_address() -> str:
    """The private socket spares the bus daemon, and is there before it."""
    for address in (PRIVATE_SOCKET, SYSTEM_BUS):
        if os.access(address, os.W_OK):
            return address
    raise Unavailable(
        f"systemd is not reachable: neither {PRIVATE_SOCKET} nor {SYSTEM_BUS} can be used",
        hint="use the cgroupfs driver on machines without systemd",
    )


class SystemdUnit(Group):
    """A group that systemd makes and removes as `unit`.

    What systemd does not manage (further version 1 hierarchies, files without a
    property) is done beside it as in any group.
    """

    __slots__ = ("_address", "unit")

    def __init__(self, layout: Layout, path: str, unit: str, address: str = "") -> None:
        super().__init__(layout, path)
        self.unit = unit
        self._address = address

    def apply(self, writes: Iterable[Write]) -> None:
        """Properties of the unit (controller UNIT, value: JSON of signature and value), then files."""
        every = list(writes)
        properties = [
            (name, Variant(*json.loads(value))) for controller, name, value in every if controller == UNIT
        ]
        if properties:
            with Manager(self._address) as manager:
                manager.set_properties(self.unit, properties)
        super().apply(write for write in every if write[0] != UNIT)

    def remove(self, *, timeout_s: float = 2.0) -> None:
        """Stop the unit, then remove what systemd does not know of."""
        with Manager(self._address) as manager:
            manager.stop(self.unit)
        super().remove(timeout_s=timeout_s)


class SystemdSlice(SystemdUnit):
    """A slice, for groups of containers: /machine.slice/machine-a.slice."""

    __slots__ = ()

    def __init__(self, layout: Layout, path: str, *, address: str = "") -> None:
        name = path.rpartition("/")[2]
        super().__init__(layout, expand_slice(name), name, address)

    def make(self) -> None:
        """Start the slice; one that is there stays as it is."""
        with Manager(self._address) as manager:
            manager.start(self.unit)
        super().make()


class SystemdGroup(SystemdUnit):
    """A scope in `slice`, with Delegate=yes: what is in it is ours."""

    __slots__ = ("_holder", "_threaded", "_tracking", "slice")

    def __init__(self, layout: Layout, path: str, *, address: str = "", threaded: bool = False) -> None:
        where = parse_unit_path(path)
        super().__init__(layout, f"{expand_slice(where.slice)}/{where.unit}", where.unit, address)
        self.slice = where.slice
        self._holder = 0
        self._threaded = threaded
        self._tracking = layout.tracking.rstrip("/") + self.path if layout.tracking else ""

    def join_files(self) -> tuple[str, ...]:
        """On a hybrid machine also the group by which systemd sees that the scope has processes."""
        tracking = (f"{self._tracking}/cgroup.procs",) if self._tracking else ()
        return (*super().join_files(), *tracking)

    def _watched(self) -> str:
        return self._tracking or super()._watched()

    def make(self) -> None:
        """Start the scope, with a holder in it until `settle`.

        Raises AlreadyExists, Unavailable without systemd.
        """
        self._holder = _spawn_holder() if self._threaded else _fork_holder()
        try:
            with Manager(self._address) as manager:
                manager.start_scope(self.unit, self._first_properties())
            super().make()
        except BaseException:
            self.settle()
            raise

    def _first_properties(self) -> list[tuple[str, Variant]]:
        properties = [
            ("Description", Variant("s", f"rundlet container {self.unit.removesuffix('.scope')}")),
            ("Slice", Variant("s", self.slice)),
            ("Delegate", Variant("b", True)),
            ("DefaultDependencies", Variant("b", False)),
            ("CollectMode", Variant("s", "inactive-or-failed")),
            ("PIDs", Variant("au", [self._holder])),
        ]
        accounts = ("CPU", "Memory", "Tasks", "IO" if self.layout.version == 2 else "BlockIO")
        return [*properties, *((f"{name}Accounting", Variant("b", True)) for name in accounts)]

    def settle(self) -> None:
        """Other processes are in the group now: end the holder."""
        holder, self._holder = self._holder, 0
        if holder:
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)

    def remove(self, *, timeout_s: float = 2.0) -> None:
        self.settle()
        super().remove(timeout_s=timeout_s)


def _fork_holder() -> int:
    """A child that sleeps until it is killed, or its parent dies."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        prctl.prctl(prctl.PR_SET_PDEATHSIG, signal.SIGKILL)
        while os.getppid() == parent:
            signal.pause()
    finally:
        os._exit(0)


def _spawn_holder() -> int:
    """As `_fork_holder`, for a process with threads; when this one dies it goes after a minute."""
    return os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
