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
    """The rootfs from layers, `lower` with the topmost first."""

    lower: tuple[str, ...]
    upper: str
    work: str
    rootfs: str

    def describe(self) -> str:
        return f"overlay of {len(self.lower)} layers on {self.rootfs}"


class BindRootfs(NamedTuple):
    """The rootfs from a directory: pivot_root(2) wants a mount."""

    source: str
    rootfs: str

    def describe(self) -> str:
        return f"bind {self.source} on {self.rootfs}"


class Mount(NamedTuple):
    """A new file system; `flags` are MS_*, `data` its own options."""

    fstype: str
    source: str
    target: str
    flags: int
    data: str
    propagation: str = ""

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.target}" + (f" ({self.data})" if self.data else "")


class Bind(NamedTuple):
    """A bind mount, attributes (MOUNT_ATTR_*) set before anybody can see it.

    `whole_tree` applies the attributes to the mounts below it too (rro and friends).
    """

    source: str
    target: str
    recursive: bool
    set_attrs: int
    clear_attrs: int
    propagation: str = ""
    whole_tree: bool = False

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


class SetLimit(NamedTuple):
    """`resource` is RLIMIT_* by number; -1 is infinity."""

    name: str
    resource: int
    soft: int
    hard: int

    def describe(self) -> str:
        return f"{self.name} {self.soft}:{self.hard}"


Step = (
    JoinCgroup | JoinNamespace | Unshare | SetHostname | SetDomainname | WriteSysctl | SetRootPropagation
    | MountOverlay | BindRootfs | Mount | Bind | MakeDevice | MakeSymlink | OpenTerminal | PivotRoot
    | SetRootReadonly | MaskPath | SetReadonly | SetOomScore | SetLimit
)  # fmt: skip

KINDS: dict[str, Any] = {kind.__name__: kind for kind in Step.__args__}


def encode_step(step: Step) -> list[Any]:
    """The JSON form: the name, then the fields in order."""
    return [type(step).__name__, *step]


def decode_step(raw: list[Any]) -> Step:
    """Inverse of `encode_step`; KeyError for a step of a newer version."""
    step: Step = KINDS[raw[0]](*(tuple(field) if isinstance(field, list) else field for field in raw[1:]))
    return step
