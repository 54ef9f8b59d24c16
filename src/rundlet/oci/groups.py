"""Control groups of containers: where they lie, what is written to them."""

from typing import Literal

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.errors import Error
from rundlet.kernel.capability import read_sets
from rundlet.kernel.lsm import read_security_modules
from rundlet.oci.containers import Record
from rundlet.plan.container import CgroupPlan
from rundlet.plan.planner import Host
from rundlet.plan.resources import plan_resources
from rundlet.spec.runtime import Resources


def choose_path(container_id: str, cgroups_path: str, *, systemd: bool) -> str:
    """cgroupsPath, or a group of the container's name: a scope, or below this process's own."""
    return cgroups_path or (f":rundlet:{container_id}" if systemd else container_id)


def open_group(path: str, *, systemd: bool) -> Group:
    """The group of a path; making the object touches nothing."""
    layout = detect_layout()
    if systemd:
        from rundlet.cgroup.systemd import SystemdGroup

        return SystemdGroup(layout, path)
    return Group(layout, path)


def group_of(record: Record) -> Group | None:
    return open_group(record.cgroup, systemd=record.systemd_cgroup) if record.cgroup else None


def pin_path(group: Group) -> str:
    """An absolute path for the group, good for every later process wherever that one lives itself.

    A relative path counts from the process's own group, which may differ between
    hierarchies; then it stays relative.
    """
    if group.path.startswith("/"):
        return group.path
    below = {group.layout.own[name].rstrip("/") for name in group.layout.mounts}
    return f"{below.pop()}/{group.path}" if len(below) == 1 else group.path


def plan_group(group: Group, resources: Resources, *, systemd: bool) -> CgroupPlan:
    """The files' values; for systemd before them the unit's properties, which it would else write back."""
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


def is_paused(group: Group | None) -> bool:
    """False too where nothing can be paused."""
    try:
        return group is not None and group.exists() and group.is_frozen()
    except Error:
        return False
