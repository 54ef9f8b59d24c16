"""What a process in a container is to be: identity, limits, program.

Used twice: for a container's first process and for every exec into it.
"""

from typing import Any, NamedTuple

from rundlet.plan.steps import SetLimit


class CapabilitySets(NamedTuple):
    """Bit masks as `rundlet.kernel.capability` has them."""

    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int


class ProcessPlan(NamedTuple):
    """`env` holds "KEY=value"; `seccomp` is the BPF program in base64, empty for none.

    `console_size` is (rows, columns) of the terminal, zeros for the kernel's own.
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

    def describe(self) -> str:
        return f"exec {' '.join(self.args)} as {self.uid}:{self.gid}"


def encode_process(plan: ProcessPlan) -> list[Any]:
    """The JSON form: the fields in order."""
    return list(plan)


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
        console_size=(plan.console_size[0], plan.console_size[1]),
    )
