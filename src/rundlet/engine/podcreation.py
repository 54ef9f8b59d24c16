"""Making what a pod has: directory → cgroup → namespaces (keeper) → network → files."""

import os

from rundlet.cgroup.group import Group
from rundlet.engine.options import PodOptions
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import mount_shm, remove_files, write_files
from rundlet.engine.podlimits import apply_pod_limits
from rundlet.engine.podplan import choose_hostname, choose_kinds, plan_network, with_resolvers
from rundlet.engine.records import PodFacts
from rundlet.engine.selinux import check_label, choose_pod_label, file_label
from rundlet.engine.undo import Undo
from rundlet.engine.userns import choose_mappings
from rundlet.keeper.protocol import PodNamespaces
from rundlet.kernel.failure import translating
from rundlet.network.loopback import set_loopback_up
from rundlet.network.pod import Attached, PodNetns
from rundlet.network.redirects import Redirect, redirect_ports
from rundlet.spec.cni import Result
from rundlet.step import step


def build_pod(parts: Parts, pod_id: str, options: PodOptions, handler: str, undo: Undo) -> PodFacts:
    """Make all that a pod has but its record; what was made is undone by `undo`."""
    directory = _make_directory(parts, pod_id, undo)
    hostname = choose_hostname(pod_id, options)
    cgroup_parent = _make_group(parts, pod_id, options, undo)
    label = _choose_label(parts, options)
    files_label = _choose_files_label(parts, label)
    namespaces = _make_namespaces(parts, pod_id, options, hostname, cgroup_parent, files_label, undo)
    try:
        attached = _attach(parts, pod_id, options, namespaces, undo)
    finally:
        _close(namespaces.netns_fd, namespaces.route_fd)
    options = with_resolvers(options, attached, is_rootless=parts.host.is_rootless)
    write_files(directory, options, hostname, attached.ips, files_label)
    return PodFacts(
        runtime_handler=handler,
        hostname=hostname,
        cgroup_parent=cgroup_parent,
        boot_id=parts.boot_id,
        namespaces=dict(namespaces.paths),
        init_pid=namespaces.init_pid,
        ips=attached.ips,
        selinux_label=label,
    )


def _choose_label(parts: Parts, options: PodOptions) -> str:
    """The SELinux label of the pod's processes, of categories that no other pod has."""
    defaults = parts.host.selinux
    if defaults is None:
        return ""
    taken = [record.facts.selinux_label for record in parts.pods.list()]
    label = choose_pod_label(options.security.selinux, defaults, taken)
    check_label(label, "security.selinux")
    return label


def _choose_files_label(parts: Parts, label: str) -> str:
    defaults = parts.host.selinux
    return file_label(label, defaults) if defaults else ""


def _make_directory(parts: Parts, pod_id: str, undo: Undo) -> str:
    directory = f"{parts.settings.pods_dir}/{pod_id}"
    with translating(f"make {directory}"), step("pod.directory", pod_id):
        os.makedirs(directory, mode=0o711)
    undo.add(f"remove {directory}", remove_files, directory)
    return directory


def _make_group(parts: Parts, pod_id: str, options: PodOptions, undo: Undo) -> str:
    path = parts.parent_of(pod_id, options.cgroup_parent)
    undo.add(f"remove cgroup {path}", parts.groups.remove, path)
    with step("pod.cgroup", pod_id):
        parts.groups.make(path)
        apply_pod_limits(parts, path, options.resources, options.overhead)
    return path


def _make_namespaces(
    parts: Parts,
    pod_id: str,
    options: PodOptions,
    hostname: str,
    cgroup_parent: str,
    files_label: str,
    undo: Undo,
) -> PodNamespaces:
    kinds = choose_kinds(options)
    group = _make_init_group(parts, parts.child_of(cgroup_parent, pod_id), undo) if "pid" in kinds else None
    undo.add(f"drop the namespaces of pod {pod_id}", parts.keeper.remove_pod, pod_id)
    with step("pod.namespaces", pod_id):
        namespaces = parts.keeper.make_pod(
            pod_id,
            kinds,
            hostname=hostname if "uts" in kinds else "",
            sysctls=options.sysctls,
            cgroup_join=group.join_files() if group else (),
            user=choose_mappings(options),
        )
    if group is not None:
        group.settle()
    if "ipc" in kinds:
        directory = f"{parts.settings.pods_dir}/{pod_id}"
        size_bytes = options.shm_size_bytes or parts.settings.shm_size_bytes
        mount_shm(directory, size_bytes, files_label)
    return namespaces


def _make_init_group(parts: Parts, path: str, undo: Undo) -> Group:
    """The pod's init has a group beside the containers': version 2 allows processes in leaves only."""
    group = parts.group(path)
    undo.add(f"remove cgroup {path}", remove_init_group, parts, path)
    with step("pod.init-cgroup"):
        group.make()
    return group


def remove_init_group(parts: Parts, path: str) -> None:
    """With whoever is in it: a keeper that was killed may have made the init and told nobody."""
    group = parts.group(path)
    group.kill()
    group.remove()


def _attach(
    parts: Parts, pod_id: str, options: PodOptions, namespaces: PodNamespaces, undo: Undo
) -> Attached:
    if options.security.namespaces.network == "node":
        return Attached((), Result())
    if not options.connected:
        set_loopback_up(namespaces.route_fd)
        return Attached((), Result())
    network = plan_network(pod_id, options)
    path = namespaces.paths["net"]
    undo.add(f"detach the network of pod {pod_id}", parts.network.detach, network, path)
    netns = PodNetns(path, namespaces.netns_fd, namespaces.route_fd)
    with step("pod.network", pod_id):
        attached = parts.network.attach(network, netns)
        if options.redirects:
            redirects = [Redirect(one.port, one.target, one.protocol) for one in options.redirects]
            redirect_ports(namespaces.netns_fd, redirects, path)
    return attached


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)
