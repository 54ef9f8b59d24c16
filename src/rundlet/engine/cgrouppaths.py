"""Where pods and their containers have their cgroups: plain paths, or slices and scopes of systemd.

    cgroup_parent                            the pod                                    a container
    /kubepods/pod1                           the same                                   /kubepods/pod1/ID
    kubepods-pod1.slice                      /kubepods.slice/kubepods-pod1.slice        kubepods-pod1.slice:rundlet:ID
    /kubepods.slice/kubepods-pod1.slice      the same                                   the same
    none, by the driver cgroupfs             /rundlet/POD                               /rundlet/POD/ID
    none, by the driver systemd              /rundlet.slice/rundlet-pod_POD.slice        rundlet-pod_POD.slice:rundlet:ID

The kubelet gives slices when its own driver is systemd.  Where systemd does not run, a path
that ends as a slice is one like any other.  Pure.
"""

from rundlet.cgroup.systemd import expand_slice
from rundlet.errors import InvalidArgument

_SLICE = ".slice"
_PREFIX = "rundlet"


def choose_parent(wanted: str, default: str, driver: str, pod_id: str, *, has_systemd: bool) -> str:
    """The absolute path of the group that is to hold a pod's groups; InvalidArgument for a slice that is none."""
    if wanted:
        return _expand(wanted, has_systemd=has_systemd) if wanted.endswith(_SLICE) else wanted
    if driver == "systemd":
        stem = "-".join(filter(None, default.removesuffix(_SLICE).split("/")))
        return expand_slice(f"{stem}-pod_{pod_id}{_SLICE}")
    return f"{default}/{pod_id}"


def _expand(wanted: str, *, has_systemd: bool) -> str:
    """A slice by its name, or by its path, which must be the one that its name says."""
    above, _, name = wanted.rpartition("/")
    if not has_systemd:
        if above:
            return wanted
        raise InvalidArgument(
            f"cgroup_parent: {wanted!r} is a slice, and systemd does not run here",
            hint="choose the driver cgroupfs, and a path like /kubepods/pod1",
        )
    path = expand_slice(name)
    if above and f"/{wanted.strip('/')}" != path:
        raise InvalidArgument(f"cgroup_parent: {wanted!r}: systemd has {name!r} at {path or '/'}")
    return path


def child_path(parent: str, name: str, *, has_systemd: bool) -> str:
    """The group `name` in a pod's: a container's, or that of the pod's own processes."""
    if has_systemd and parent.endswith(_SLICE):
        return f"{parent.rpartition('/')[2]}:{_PREFIX}:{name}"
    return f"{parent}/{name}"
