"""A container as the keeper takes it: a value in JSON, made by `rundlet.plan.planner`.

    clone3(new namespaces)
      cgroup; joined namespaces, OOM score: with the host's rights     `entry`
      hostname, sysctls, rootfs, mounts, devices, terminal, hooks,
      masks, pivot_root: with the container's                          `setup`, in this order
      identity, limits, seccomp                                        `process`
      -- gate: created, waits for start --
      execve

With a user or time namespace, or network devices to move, the first process has
a helper before it that does `entry` (`rundlet.runtime.helper`).

This module imports nothing but the standard library: the keeper reads it too.
"""

from typing import Any, NamedTuple

from rundlet.plan.process import ProcessPlan, decode_process, encode_process
from rundlet.plan.steps import IdMap, MoveNetDevice, NewTimeNamespace, Step, decode_step, encode_step, freeze


class CgroupPlan(NamedTuple):
    """The container's cgroup: its path in every hierarchy and what to write, in order (controller, file, value)."""

    path: str
    writes: tuple[tuple[str, str, str], ...] = ()

    def describe(self) -> str:
        return f"cgroup {self.path} with {len(self.writes)} settings"

    def describe_writes(self) -> tuple[str, ...]:
        """One line a file, in order."""
        return tuple(f"write {value.strip()!r} to {file}" for _, file, value in self.writes)


class UserNamespace(NamedTuple):
    """One to be made with these mappings, or the one at `path` (mappings as far as they are known)."""

    path: str
    uid_map: IdMap = ()
    gid_map: IdMap = ()

    def describe(self) -> str:
        if self.path:
            return f"join user namespace {self.path}"
        return f"new user namespace with root as {self.uid_map[0][1]}:{self.gid_map[0][1]}"


class Hook(NamedTuple):
    """`args` with the program's name first; `timeout_s` 0 waits for ever."""

    path: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    timeout_s: int = 0


class Hooks(NamedTuple):
    """Programs run at points of the life of a container (config.md#posix-platform-hooks).

    `state` is the state document without status and pid; `bundle` their working directory.
    """

    state: dict[str, Any]
    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class ContainerPlan(NamedTuple):
    """Everything the keeper needs; nothing in it is decided later.

    `clone` names the namespaces made with the process, `pid_namespace` is the
    path of one to be born into, or empty.  `traced`: the first process tells the
    times of its steps when it is ready.
    """

    container_id: str
    clone: tuple[str, ...]
    pid_namespace: str
    cgroup: CgroupPlan
    entry: tuple[Step, ...]
    setup: tuple[Step, ...]
    process: ProcessPlan
    user: UserNamespace | None = None
    hooks: Hooks | None = None
    traced: bool = False

    @property
    def needs_helper(self) -> bool:
        """Whether something must be done with the host's rights that the first process does not have."""
        return self.user is not None or any(type(step).__name__ in _HELPED for step in self.entry)

    def describe(self) -> list[str]:
        """One line a step, in the order of execution."""
        namespaces = f"clone3 with new {', '.join(self.clone)} namespaces"
        return [
            self.cgroup.describe(),
            namespaces,
            *([self.user.describe()] if self.user else ()),
            *(step.describe() for step in self.entry),
            *(step.describe() for step in self.setup),
            self.process.describe(),
        ]


class Outline(NamedTuple):
    """What the keeper itself has to know of a plan; all else is for the first process, which reads it whole."""

    container_id: str
    clone: tuple[str, ...]
    pid_namespace: str
    cgroup: CgroupPlan
    hooks: Hooks | None
    needs_helper: bool
    has_program: bool
    has_terminal: bool


_HELPED = frozenset(kind.__name__ for kind in (NewTimeNamespace, MoveNetDevice))
_ARGS, _TERMINAL = map(ProcessPlan._fields.index, ("args", "terminal"))


def read_outline(raw: dict[str, Any]) -> Outline:
    """From the JSON form of a plan; KeyError and the like when it is none."""
    path, writes = raw["cgroup"]
    return Outline(
        raw["container_id"],
        tuple(raw["clone"]),
        raw["pid_namespace"],
        CgroupPlan(path, writes),
        decode_hooks(raw["hooks"]) if raw["hooks"] else None,
        bool(raw["user"]) or any(step[0] in _HELPED for step in raw["entry"]),
        bool(raw["process"][_ARGS]),
        bool(raw["process"][_TERMINAL]),
    )


def encode_plan(plan: ContainerPlan) -> dict[str, Any]:
    """The JSON form that the keeper takes."""
    fields = plan._asdict()
    fields["entry"] = [encode_step(step) for step in plan.entry]
    fields["setup"] = [encode_step(step) for step in plan.setup]
    fields["process"] = encode_process(plan.process)
    return fields


def decode_plan(raw: dict[str, Any]) -> ContainerPlan:
    """Inverse of `encode_plan`."""
    path, writes = raw["cgroup"]
    return ContainerPlan(
        raw["container_id"],
        tuple(raw["clone"]),
        raw["pid_namespace"],
        CgroupPlan(path, freeze(writes)),
        tuple(decode_step(step) for step in raw["entry"]),
        tuple(decode_step(step) for step in raw["setup"]),
        decode_process(raw["process"]),
        UserNamespace(*freeze(raw["user"])) if raw["user"] else None,
        decode_hooks(raw["hooks"]) if raw["hooks"] else None,
        raw.get("traced", False),
    )


def decode_hooks(raw: list[Any]) -> Hooks:
    """From the JSON form: the fields in order."""
    state, *kinds = raw
    return Hooks(state, *(tuple(Hook(*freeze(hook)) for hook in hooks) for hooks in kinds))
