"""`update`: other limits for a container, from a file of the specification's resources or from flags."""

import sys
from typing import Any

from rundlet.errors import FailedPrecondition, Unimplemented
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import read_model
from rundlet.oci.context import Context
from rundlet.oci.planning import plan_group
from rundlet.spec.model import from_json
from rundlet.spec.runtime import Resources

# flag → (object, member) of the specification's resources
_MEMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}


def update(context: Context, arguments: Arguments) -> int:
    resources = read_resources(arguments)
    with containers.locked(context.root, arguments.words[0]) as container:
        if container.status() not in ("created", "running"):
            raise FailedPrecondition(f'container "{container.record.id}": container not running')
        group = groups.group_of(container.record)
        if group is None:
            raise FailedPrecondition(f'container "{container.record.id}" has no cgroup')
        group.apply(plan_group(group, resources, systemd=container.record.systemd_cgroup).writes)
    return 0


def read_resources(arguments: Arguments) -> Resources:
    """With --resources the flags count for nothing, as runc has it."""
    source = arguments.text("resources")
    if source == "-":
        return read_model(sys.stdin.buffer.read(), Resources, "standard input")
    if source:
        with open(source, "rb") as file:
            return read_model(file.read(), Resources, source)
    for flag in ("l3-cache-schema", "mem-bw-schema"):
        if arguments.text(flag):
            raise Unimplemented(f"flag --{flag}: Intel RDT is not done by update yet")
    document: dict[str, dict[str, Any]] = {}
    for flag, (section, member) in _MEMBERS.items():
        value = arguments.get(flag)
        if value not in (None, "", 0) or (flag == "cpu-idle" and value == 0):
            document.setdefault(section, {})[member] = value
    return from_json(Resources, document, "flags")
