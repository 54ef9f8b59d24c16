"""The steps that turn a fresh process into a container's first process.

A step is a value: it says what is to be done, `describe()` says it in words
(that is `--explain`, the debug log and the trace), and `rundlet.runtime` does it.
Executors decide nothing.

On the wire (engine → keeper) and on disk a step is a JSON list, its name first:

    ["Bind", "/run/x/hosts", "/etc/hosts", false, 1, 0, "private"]

Paths named `target` lie inside the container's rootfs and are always resolved
there (openat2(2), RESOLVE_IN_ROOT); all others are the host's.
This module imports nothing but the standard library: the keeper reads it too.
"""

from typing import Any, NamedTuple

from rundlet.plan.attributes import Attribute

IdMap = tuple[tuple[int, int, int], ...]
"""(id inside, id outside, how many), as in /proc/PID/uid_map (user_namespaces(7))."""


def map_id(mapping: IdMap, inside: int) -> int:
    """The id outside; -1 when it is not mapped."""
    for first, outside, count in mapping:
        if first <= inside < first + count:
            return outside + inside - first
    return -1


class JoinCgroup(NamedTuple):
    """Attach this very process: write "0" to each file while single-threaded (72 µs; a foreign pid costs 5-15 ms)."""

    files: tuple[str, ...]

    def describe(self) -> str:
        return f"join {len(self.files)} cgroup hierarchies"


class JoinNamespace(NamedTuple):
    kind: str
    path: str

    def describe(self) -> str:
        return f"join {self.kind} namespace {self.path}"


class Unshare(NamedTuple):
    kind: str

    def describe(self) -> str:
        return f"new {self.kind} namespace"


class SetHostname(NamedTuple):
    name: str

    def describe(self) -> str:
        return f"hostname {self.name}"


class SetDomainname(NamedTuple):
    name: str

    def describe(self) -> str:
        return f"domain name {self.name}"


class WriteSysctl(NamedTuple):
    """`name` dotted or slashed, as sysctl(8) takes it."""

    name: str
    value: str

    def describe(self) -> str:
        return f"sysctl {self.name} = {self.value}"


class SetRootPropagation(NamedTuple):
    """Of every mount this process inherited; the rootfs's own parent mount is made private besides."""

    propagation: str

    def describe(self) -> str:
        return f"inherited mounts become {self.propagation}"


class MountOverlay(NamedTuple):
    """The rootfs from layers, `lower` with the topmost first.

    With `idmap` all layers are seen through the container's user namespace:
    on disk the files belong to the same ids as in a container without one.
    `label` is what SELinux takes all files for.  With `userxattr` overlayfs keeps its
    marks where a mount in a user namespace may (`rundlet.kernel.overlay`).
    """

    lower: tuple[str, ...]
    upper: str
    work: str
    rootfs: str
    idmap: bool = False
    label: str = ""
    userxattr: bool = False

    def describe(self) -> str:
        return f"overlay of {len(self.lower)} layers on {self.rootfs}"


class BindRootfs(NamedTuple):
    """The rootfs from a directory: pivot_root(2) wants a mount.

    A `slave` shows what the host mounts below the directory later; else it is private.
    """

    source: str
    rootfs: str
    slave: bool = False

    def describe(self) -> str:
        return f"bind {self.source} on {self.rootfs}"


class Mount(NamedTuple):
    """A new file system, or with MS_REMOUNT a change of one; `flags` are MS_*, `data` its own options.

    `copy_up` fills it with what the directory below holds (tmpcopyup).
    """

    fstype: str
    source: str
    target: str
    flags: int
    data: str
    propagation: str = ""
    copy_up: bool = False

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.target}" + (f" ({self.data})" if self.data else "")


class Bind(NamedTuple):
    """A bind mount, attributes (MOUNT_ATTR_*) set before anybody can see it.

    `whole_tree` applies the attributes to the mounts below it too (rro and friends).
    `idmap` is empty, "idmap" or "ridmap" (the mounts below too), by `uid_map` and
    `gid_map` as (id on disk, host id, count), or by the container's when those are empty.
    """

    source: str
    target: str
    recursive: bool
    set_attrs: int
    clear_attrs: int
    propagation: str = ""
    whole_tree: bool = False
    idmap: str = ""
    uid_map: IdMap = ()
    gid_map: IdMap = ()

    def describe(self) -> str:
        return f"bind {self.source} on {self.target}" + (" read-only" if self.set_attrs & 1 else "")


class MakeDevice(NamedTuple):
    """`kind` is c, b or p; `mode` the permission bits."""

    target: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int

    def describe(self) -> str:
        return f"device {self.target} {self.kind} {self.major}:{self.minor}"


class MakeSymlink(NamedTuple):
    """Not an error when something is there already."""

    target: str
    points_to: str

    def describe(self) -> str:
        return f"symlink {self.target} -> {self.points_to}"


class OpenTerminal(NamedTuple):
    """A pseudo-terminal from the container's own devpts; its other end goes to the keeper."""

    height: int
    width: int
    uid: int

    def describe(self) -> str:
        return "terminal on /dev/console"


class PivotRoot(NamedTuple):
    rootfs: str

    def describe(self) -> str:
        return "pivot_root"


class SetFinalPropagation(NamedTuple):
    """Of the container's own root mount, when it has become the root (config-linux.md#rootfs-mount-propagation)."""

    propagation: str

    def describe(self) -> str:
        return f"root becomes {self.propagation}"


class SetRootReadonly(NamedTuple):
    def describe(self) -> str:
        return "root becomes read-only"


class MaskPath(NamedTuple):
    """A file by /dev/null, a directory by an empty read-only tmpfs; nothing where nothing is."""

    target: str

    def describe(self) -> str:
        return f"mask {self.target}"


class SetReadonly(NamedTuple):
    target: str

    def describe(self) -> str:
        return f"read-only {self.target}"


class SetOomScore(NamedTuple):
    value: int

    def describe(self) -> str:
        return f"oom_score_adj {self.value}"


class NewTimeNamespace(NamedTuple):
    """A time namespace for the processes made from here on; offsets as (clock, seconds, nanoseconds)."""

    offsets: tuple[tuple[str, int, int], ...]

    def describe(self) -> str:
        return "new time namespace" + "".join(f", {clock} {secs}s" for clock, secs, _ in self.offsets)


class MoveNetDevice(NamedTuple):
    """A network device of the runtime's namespace becomes the container's; its addresses come along."""

    name: str
    new_name: str

    def describe(self) -> str:
        return f"network device {self.name} -> {self.new_name}"


class JoinResctrl(NamedTuple):
    """A class of service below /sys/fs/resctrl; with `schemata` it is made and filled when missing."""

    group: str
    schemata: tuple[str, ...]
    monitoring: str

    def describe(self) -> str:
        return f"resctrl group {self.group}"


class OwnCgroup(NamedTuple):
    """A version 2 group that the container manages itself belongs to its root (cgroups(7), delegation)."""

    directory: str
    uid: int

    def describe(self) -> str:
        return f"cgroup {self.directory} belongs to {self.uid}"


class AwaitHooks(NamedTuple):
    """Let the parent run the prestart and createRuntime hooks; go on when it says so."""

    def describe(self) -> str:
        return "prestart and createRuntime hooks, by the runtime"


class RunHooks(NamedTuple):
    """The createContainer hooks, in the container's namespaces with the runtime's files in sight."""

    def describe(self) -> str:
        return "createContainer hooks"


Step = (
    JoinCgroup | JoinNamespace | Unshare | NewTimeNamespace | MoveNetDevice | JoinResctrl | OwnCgroup | SetHostname
    | SetDomainname | WriteSysctl | SetRootPropagation | MountOverlay | BindRootfs | Mount | Bind | MakeDevice
    | MakeSymlink | OpenTerminal | AwaitHooks | RunHooks | PivotRoot | SetRootReadonly | MaskPath | SetReadonly
    | SetFinalPropagation | SetOomScore | Attribute
)  # fmt: skip

KINDS: dict[str, Any] = {kind.__name__: kind for kind in Step.__args__}


def encode_step(step: Step) -> list[Any]:
    """The JSON form: the name, then the fields in order."""
    return [type(step).__name__, *step]


def decode_step(raw: list[Any]) -> Step:
    """Inverse of `encode_step`; KeyError for a step of a newer version."""
    step: Step = KINDS[raw[0]](*map(freeze, raw[1:]))
    return step


def freeze(value: Any) -> Any:
    """JSON lists as the tuples they were."""
    return tuple(map(freeze, value)) if isinstance(value, list) else value
