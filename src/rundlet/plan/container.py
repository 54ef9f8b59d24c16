"""A container as the keeper takes it: a value in JSON, made by `rundlet.plan.planner`.

    clone3(new namespaces)
      cgroup, joined namespaces, hostname, sysctls, OOM score
      rootfs, mounts, devices, terminal, pivot_root, masks     `setup`, in this order
      identity, limits, seccomp                                `process`
      -- gate: created, waits for start --
      execve

This module imports nothing but the standard library: the keeper reads it too.
"""

from typing import Any, NamedTuple

from rundlet.plan.process import ProcessPlan, decode_process, encode_process
from rundlet.plan.steps import Step, decode_step, encode_step


class CgroupPlan(NamedTuple):
    """The container's cgroup: its path in every hierarchy and what to write, in order (controller, file, value)."""

    path: str
    writes: tuple[tuple[str, str, str], ...] = ()

    def describe(self) -> str:
        return f"cgroup {self.path} with {len(self.writes)} settings"


class ContainerPlan(NamedTuple):
    """Everything the keeper needs; nothing in it is decided later.

    `clone` names the namespaces made with the process, `pid_namespace` is the
    path of one to be born into, or empty.
    """

    container_id: str
    clone: tuple[str, ...]
    pid_namespace: str
    cgroup: CgroupPlan
    setup: tuple[Step, ...]
    process: ProcessPlan

    def describe(self) -> list[str]:
        """One line a step, in the order of execution."""
        namespaces = f"clone3 with new {', '.join(self.clone)} namespaces"
        return [
            self.cgroup.describe(),
            namespaces,
            *(step.describe() for step in self.setup),
            self.process.describe(),
        ]


def encode_plan(plan: ContainerPlan) -> dict[str, Any]:
    """The JSON form that the keeper takes."""
    fields = plan._asdict()
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
        CgroupPlan(path, tuple((controller, file, value) for controller, file, value in writes)),
        tuple(decode_step(step) for step in raw["setup"]),
        decode_process(raw["process"]),
    )
