"""What a plan is made from besides the configuration: this host, the cgroup, the seccomp filter."""

from typing import Literal

from rundlet.cgroup.group import Group
from rundlet.kernel.capability import read_sets
from rundlet.kernel.lsm import read_security_modules
from rundlet.oci.context import Context
from rundlet.plan.container import CgroupPlan
from rundlet.plan.host import Filter, Host
from rundlet.spec.runtime import Resources, RuntimeConfig

_SECCOMP_CACHE = ".seccomp"


def plan_group(group: Group, resources: Resources, *, systemd: bool) -> CgroupPlan:
    """The files' values; for systemd before them the unit's properties, which it would else write back."""
    from rundlet.plan.resources import plan_resources

    version: Literal[1, 2] = 1 if group.layout.version == 1 else 2
    writes = plan_resources(resources, version)
    if systemd:
        from rundlet.plan.unit import plan_unit

        writes = (*plan_unit(resources, version), *writes)
    return CgroupPlan(group.path, tuple((write.controller, write.file, write.value) for write in writes))


def read_host(group: Group | None) -> Host:
    """What a plan must know: the capabilities there are, the group's directories, the security modules."""
    sets = read_sets()
    directories: dict[str, str] = group.directories() if group else {}
    if group is not None and group.layout.version != 1:
        directories = {"": directories[""]}
    return Host(sets["permitted"] & sets["bounding"], directories, read_security_modules())


def load_filter(context: Context, config: RuntimeConfig) -> Filter | None:
    """The compiled seccomp profile, from the cache below the root where it can be."""
    profile = config.linux.seccomp if config.linux else None
    if profile is None:
        return None
    from rundlet.plan.seccomp_cache import load_program

    program = load_program(profile, f"{context.root}/{_SECCOMP_CACHE}")
    return Filter(program.filter, program.flags)
