"""What a process in a container is to be: identity, limits, program.

Used twice: for a container's first process and for every exec into it.
"""

from typing import Any, NamedTuple

from rundlet.plan.attributes import Attribute, SetLimit
from rundlet.plan.steps import decode_step, encode_step, freeze


class CapabilitySets(NamedTuple):
    """Bit masks as `rundlet.kernel.capability` has them."""

    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int


class Listener(NamedTuple):
    """Who answers for calls that a seccomp filter notifies of (config-linux.md#containerprocessstate).

    `path` is a unix socket of the host's; `state` the state document without its pid.
    """

    path: str
    metadata: str
    state: dict[str, Any]


class ProcessPlan(NamedTuple):
    """`env` holds "KEY=value"; `seccomp` is the BPF program in base64, empty for none.

    `args` may be empty: such a container can be created and never started.
    `console_size` is (rows, columns) of the terminal, zeros for the kernel's own.
    `affinity` holds the CPUs at the beginning and after joining the cgroup, of an exec only.
    `labels` are (file below /proc/self/attr, what to write), for execve(2).
    """

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    umask: int | None = None
    capabilities: CapabilitySets | None = None
    no_new_privileges: bool = False
    limits: tuple[SetLimit, ...] = ()
    oom_score_adj: int | None = None
    terminal: bool = False
    seccomp: str = ""
    seccomp_flags: int = 0
    console_size: tuple[int, int] = (0, 0)
    attributes: tuple[Attribute, ...] = ()
    affinity: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    labels: tuple[tuple[str, str], ...] = ()
    listener: Listener | None = None

    def describe(self) -> str:
        return f"exec {' '.join(self.args) or 'nothing'} as {self.uid}:{self.gid}"


def encode_process(plan: ProcessPlan) -> list[Any]:
    """The JSON form: the fields in order."""
    return list(plan._replace(attributes=tuple(encode_step(step) for step in plan.attributes)))  # type: ignore[misc]


def decode_process(raw: list[Any]) -> ProcessPlan:
    """Inverse of `encode_process`."""
    plan = ProcessPlan(*raw)
    capabilities = CapabilitySets(*plan.capabilities) if plan.capabilities else None
    return plan._replace(
        args=tuple(plan.args),
        env=tuple(plan.env),
        groups=tuple(plan.groups),
        capabilities=capabilities,
        limits=tuple(SetLimit(*limit) for limit in plan.limits),
        console_size=freeze(plan.console_size),
        attributes=tuple(decode_step(list(step)) for step in plan.attributes),  # type: ignore[misc]
        affinity=freeze(plan.affinity),
        labels=freeze(plan.labels),
        listener=Listener(*plan.listener) if plan.listener else None,
    )
