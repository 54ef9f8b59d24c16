"""Control groups of containers: where they lie, whether they are paused."""

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout, detect_layout
from rundlet.errors import Error
from rundlet.oci.containers import Record


def choose_path(container_id: str, cgroups_path: str, *, systemd: bool) -> str:
    """cgroupsPath, or a group of the container's name: a scope, or below this process's own."""
    return cgroups_path or (f":rundlet:{container_id}" if systemd else container_id)


def open_group(path: str, *, systemd: bool) -> Group:
    """The group of a path; making the object touches nothing."""
    layout = detect_layout()
    if systemd:
        from rundlet.cgroup.systemd import SystemdGroup

        return SystemdGroup(layout, path)
    return Group(layout, path if path.startswith("/") else _pin(path, layout))


def _pin(path: str, layout: Layout) -> str:
    """Absolute, good for every later process wherever that one lives itself, and any name for a directory.

    A relative path counts from the process's own group.  Where that differs between
    hierarchies the path stays as it is.
    """
    below = {layout.own[name].rstrip("/") for name in layout.mounts}
    return f"{below.pop()}/{path}" if len(below) == 1 else path


def group_of(record: Record) -> Group | None:
    return open_group(record.cgroup, systemd=record.systemd_cgroup) if record.cgroup else None


def describe_roots(group: Group) -> dict[str, str]:
    """Where the group lies, by the names of hierarchies in /proc/PID/cgroup ("" is version 2)."""
    if group.layout.version == 2:
        return {"": group.path}
    roots = dict.fromkeys(group.directories(), group.path)
    return {**roots, "": group.path} if group.layout.tracking else roots


def is_paused(group: Group | None) -> bool:
    """False too where nothing can be paused."""
    try:
        return group is not None and group.exists() and group.is_frozen()
    except Error:
        return False
