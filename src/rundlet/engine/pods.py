"""Pod sandboxes: run, stop, remove, look at.

    run     name reserved → directory → cgroup → namespaces (keeper) → network → files → ready
    stop    containers killed → network detached → namespaces dropped → notready
    remove  stop → containers removed → files and cgroup removed → record deleted

Every step of `run` is undone in reverse when a later one fails, the name last, so that a
retry with the same metadata works and nothing is left.  Stop and remove are idempotent.
"""

import os
import time
from collections.abc import Sequence

from msgspec.structs import replace

from rundlet.cgroup.group import Group
from rundlet.engine.containers import Containers
from rundlet.engine.describe import describe_pod
from rundlet.engine.handlers import Handler
from rundlet.engine.limits import check_resources
from rundlet.engine.names import new_id
from rundlet.engine.options import ContainerFilter, NetworkUse, PodFilter, PodOptions, Resources
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import mount_shm, remove_files, write_files, write_neighbours
from rundlet.engine.podlimits import apply_pod_limits, change_pod_limits
from rundlet.engine.records import PodFacts, PodRecord, require_state
from rundlet.engine.selinux import check_label, choose_pod_label, file_label
from rundlet.engine.stats import StatsReader
from rundlet.engine.status import PodStats, PodStatus
from rundlet.engine.streams import Dial, dial_pod
from rundlet.engine.twins import Twins
from rundlet.engine.undo import Undo
from rundlet.engine.userns import choose_mappings
from rundlet.engine.validate import check_pod, check_port
from rundlet.errors import InvalidArgument, NotFound
from rundlet.keeper.protocol import PodNamespaces
from rundlet.kernel.failure import translating
from rundlet.network.loopback import set_loopback_up
from rundlet.network.pod import Attached, HostPort, Link, Membership, PodNetns, PodNetwork
from rundlet.spec.cni import Result
from rundlet.step import step
from rundlet.trace.span import Span, identify

_SHORT_ID_DIGITS = 12


class Pods:
    """The pods of one engine; thread-safe."""

    def __init__(self, parts: Parts, containers: Containers, stats: StatsReader) -> None:
        self._parts = parts
        self._stats = stats
        self._records = parts.pods
        self._containers = containers
        self._twins = Twins(self._is_ready)

    def run(self, options: PodOptions, pod_id: str = "") -> str:
        """Make a pod and answer its id; it is ready then.

        The id is `pod_id` when that is given (a fresh one of `names.new_id`).

        The same call in parallel waits, and gets the same pod.
        Raises InvalidArgument for wrong options, AlreadyExists for a taken
        (namespace, name, uid, attempt), and what the parts below raise.
        """
        check_pod(options)
        with self._operation("run", "", _label(options)):
            return self._twins.run(_key(options), options, lambda: self._run(options, pod_id))

    def offer_again(self, options: PodOptions, pod_id: str) -> None:
        """Whoever asked for the pod did not hear its id: the next to ask for the same gets it."""
        self._twins.offer(_key(options), options, pod_id)

    def _operation(self, verb: str, pod_id: str, label: str = "") -> Span:
        return self._parts.tracer.operation(verb, "pod", pod_id, label)

    def _is_ready(self, pod_id: str) -> bool:
        try:
            return self._records.get(pod_id).state == "ready"
        except NotFound:
            return False

    def revive(self, prefix: str) -> None:
        """Make a stopped pod ready again, with its id; its network is a new one, its containers stay ended.

        Raises FailedPrecondition unless it is stopped.  After a failure it is still stopped.
        """
        pod_id = self._records.resolve(prefix)
        with self._operation("revive", pod_id), self._parts.locks.hold(pod_id), Undo() as undo:
            record = self._records.get(pod_id)
            require_state(record, "notready", action="revive")
            self._stop(pod_id)  # what a reboot or a failed stop has left
            self._clear_files(record)
            facts = self._build(pod_id, record.options, record.facts.runtime_handler, undo)
            with step("pod.publish", pod_id):
                self._records.publish(pod_id, facts)
            undo.keep()

    def _run(self, options: PodOptions, pod_id: str) -> str:
        handler = self._choose_handler(options)
        record = PodRecord(pod_id or new_id(), options, "creating", self._parts.identity, time.time_ns())
        with self._parts.locks.hold(record.id), Undo() as undo:
            identify(record.id)
            with step("pod.reserve", record.id):
                self._records.reserve(record)
            undo.add(f"drop the record of pod {record.id}", self._records.delete, record.id)
            facts = self._build(record.id, options, handler.name, undo)
            with step("pod.publish", record.id):
                self._records.publish(record.id, facts)
            undo.keep()
        return record.id

    def stop(self, prefix: str) -> None:
        """Kill the containers, detach the network, drop the namespaces; an unknown pod counts as stopped."""
        try:
            pod_id = self._records.resolve(prefix)
        except NotFound:
            return
        with self._operation("stop", pod_id), self._parts.locks.hold(pod_id):
            self._stop(pod_id)

    def remove(self, prefix: str) -> None:
        """Stop, then remove the containers and all that the pod has; an unknown pod counts as removed."""
        try:
            pod_id = self._records.resolve(prefix)
        except NotFound:
            return
        with self._operation("remove", pod_id), self._parts.locks.hold(pod_id):
            self._remove(pod_id)

    def update_resources(self, prefix: str, resources: Resources, overhead: Resources) -> None:
        """Change the limits of a ready pod; what is not mentioned stays, on failure all does."""
        check_resources(resources, "resources")
        check_resources(overhead, "overhead")
        pod_id = self._records.resolve(prefix)
        with self._parts.locks.hold(pod_id):
            record = self._records.get(pod_id)
            require_state(record, "ready", action="update")
            path = record.facts.cgroup_parent
            merged = change_pod_limits(self._parts, path, record.options, resources, overhead)
            self._records.save_resources(pod_id, *merged)

    def status(self, prefix: str) -> PodStatus:
        """Raises NotFound for an unknown pod."""
        return describe_pod(self._records.get(self._records.resolve(prefix)))

    def list(self, wanted: PodFilter = PodFilter()) -> Sequence[PodStatus]:  # noqa: B008 - immutable
        """Newest first."""
        return [describe_pod(record) for record in self._records.list(wanted)]

    def links(self, prefix: str) -> Sequence[Link]:
        """The pod's end of each of its networks, the first of them first; none when it is stopped."""
        return self._parts.network.links(self._records.resolve(prefix))

    def members(self, network: str) -> dict[str, Link]:
        """Who is on one of the machine's own networks now: each pod's end by its id."""
        return self._parts.network.members(network)

    def name_neighbours(self, prefix: str, neighbours: Sequence[tuple[str, str]]) -> None:
        """Say in the pod's /etc/hosts, which its containers have open, who its neighbours (address, name) are now.

        Nothing happens for a pod that is not ready: it has no file.
        """
        pod_id = self._records.resolve(prefix)
        with self._parts.locks.hold(pod_id):
            if self._records.get(pod_id).state == "ready":
                write_neighbours(f"{self._parts.settings.pods_dir}/{pod_id}/hosts", neighbours)

    def stats(self, prefix: str) -> PodStats:
        """Raises NotFound for an unknown pod."""
        return self._read_stats(self._records.get(self._records.resolve(prefix)))

    def list_stats(self, wanted: PodFilter = PodFilter()) -> Sequence[PodStats]:  # noqa: B008
        """Of the ready ones only."""
        found = []
        for record in self._records.list(wanted):
            if record.state != "ready":
                continue
            try:
                found.append(self._read_stats(record))
            except NotFound:
                continue  # it went between the two looks
        return found

    def port_forward(self, prefix: str, port: int) -> Dial:
        """Begin a TCP connection to `port` on the loopback of a pod, IPv4 or IPv6; the caller closes it.

        Raises NotFound, FailedPrecondition for a stopped pod, Unavailable when nobody listens.
        """
        return dial_pod(self._parts, self._records.get(self._records.resolve(prefix)), port)

    def check_port_forward(self, prefix: str, ports: Sequence[int]) -> str:
        """The full id of a ready pod; raises what `port_forward` would, and InvalidArgument for no port."""
        for index, port in enumerate(ports):
            check_port(port, f"port[{index}]")
        record = self._records.get(self._records.resolve(prefix))
        require_state(record, "ready", action="forward a port of")
        return record.id

    def _read_stats(self, record: PodRecord) -> PodStats:
        containers = self._containers.list_stats(ContainerFilter(pod_id=record.id))
        return self._stats.read_pod(record, describe_pod(record), tuple(containers))

    def _choose_handler(self, options: PodOptions) -> Handler:
        handler = self._parts.handlers.find(options.runtime_handler)
        if options.security.namespaces.user == "pod" and not self._parts.handlers.can_map_users(handler):
            raise InvalidArgument(
                f"security.namespaces.user: runtime handler {handler.name!r} makes no user namespaces here",
                hint="`crictl info` has the handlers that do under runtimeHandlers",
            )
        return handler

    def _build(self, pod_id: str, options: PodOptions, handler: str, undo: Undo) -> PodFacts:
        directory = self._make_directory(pod_id, undo)
        hostname = choose_hostname(pod_id, options)
        cgroup_parent = self._make_group(pod_id, options, undo)
        label = self._choose_label(options)
        files_label = self._choose_files_label(label)
        namespaces = self._make_namespaces(pod_id, options, hostname, cgroup_parent, files_label, undo)
        try:
            attached = self._attach(pod_id, options, namespaces, undo)
        finally:
            _close(namespaces.netns_fd, namespaces.route_fd)
        options = with_resolvers(options, attached, is_rootless=self._parts.host.is_rootless)
        write_files(directory, options, hostname, attached.ips, files_label)
        return PodFacts(
            runtime_handler=handler,
            hostname=hostname,
            cgroup_parent=cgroup_parent,
            boot_id=self._parts.boot_id,
            namespaces=dict(namespaces.paths),
            init_pid=namespaces.init_pid,
            ips=attached.ips,
            selinux_label=label,
        )

    def _choose_label(self, options: PodOptions) -> str:
        """The SELinux label of the pod's processes, of categories that no other pod has."""
        defaults = self._parts.host.selinux
        if defaults is None:
            return ""
        taken = [record.facts.selinux_label for record in self._records.list()]
        label = choose_pod_label(options.security.selinux, defaults, taken)
        check_label(label, "security.selinux")
        return label

    def _choose_files_label(self, label: str) -> str:
        defaults = self._parts.host.selinux
        return file_label(label, defaults) if defaults else ""

    def _make_directory(self, pod_id: str, undo: Undo) -> str:
        directory = f"{self._parts.settings.pods_dir}/{pod_id}"
        with translating(f"make {directory}"), step("pod.directory", pod_id):
            os.makedirs(directory, mode=0o711)
        undo.add(f"remove {directory}", remove_files, directory)
        return directory

    def _make_group(self, pod_id: str, options: PodOptions, undo: Undo) -> str:
        path = self._parts.parent_of(pod_id, options.cgroup_parent)
        undo.add(f"remove cgroup {path}", self._parts.groups.remove, path)
        with step("pod.cgroup", pod_id):
            self._parts.groups.make(path)
            apply_pod_limits(self._parts, path, options.resources, options.overhead)
        return path

    def _make_namespaces(
        self,
        pod_id: str,
        options: PodOptions,
        hostname: str,
        cgroup_parent: str,
        files_label: str,
        undo: Undo,
    ) -> PodNamespaces:
        kinds = choose_kinds(options)
        group = (
            self._make_init_group(self._parts.child_of(cgroup_parent, pod_id), undo)
            if "pid" in kinds
            else None
        )
        undo.add(f"drop the namespaces of pod {pod_id}", self._parts.keeper.remove_pod, pod_id)
        with step("pod.namespaces", pod_id):
            namespaces = self._parts.keeper.make_pod(
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
            directory = f"{self._parts.settings.pods_dir}/{pod_id}"
            size_bytes = options.shm_size_bytes or self._parts.settings.shm_size_bytes
            mount_shm(directory, size_bytes, files_label)
        return namespaces

    def _make_init_group(self, path: str, undo: Undo) -> Group:
        """The pod's init has a group beside the containers': version 2 allows processes in leaves only."""
        group = self._parts.group(path)
        undo.add(f"remove cgroup {path}", self._remove_init_group, path)
        with step("pod.init-cgroup"):
            group.make()
        return group

    def _remove_init_group(self, path: str) -> None:
        """With whoever is in it: a keeper that was killed may have made the init and told nobody."""
        group = self._parts.group(path)
        group.kill()
        group.remove()

    def _attach(self, pod_id: str, options: PodOptions, namespaces: PodNamespaces, undo: Undo) -> Attached:
        if options.security.namespaces.network == "node":
            return Attached((), Result())
        if not options.connected:
            set_loopback_up(namespaces.route_fd)
            return Attached((), Result())
        network = plan_network(pod_id, options)
        path = namespaces.paths["net"]
        undo.add(f"detach the network of pod {pod_id}", self._parts.network.detach, network, path)
        netns = PodNetns(path, namespaces.netns_fd, namespaces.route_fd)
        with step("pod.network", pod_id):
            return self._parts.network.attach(network, netns)

    def _stop(self, pod_id: str) -> None:
        record = self._records.get(pod_id)
        for container in self._parts.containers.list(ContainerFilter(pod_id=pod_id)):
            self._containers.stop(container.id, 0)
        if "net" in record.facts.namespaces and record.options.connected:
            # Not taken away yet, or a plugin failed the last time and gets its second chance.
            network = plan_network(pod_id, record.options)
            path = record.facts.namespaces["net"]
            # What goes with the network's last pod is not waited for: it lingers for the next one.
            with step("pod.detach", pod_id):
                self._parts.network.detach(network, path, settle=False)
        with step("pod.drop-namespaces", pod_id):
            self._parts.keeper.remove_pod(pod_id)
        with step("pod.mark-stopped", pod_id):
            self._records.mark_stopped(pod_id, replace(record.facts, namespaces={}))

    def _remove(self, pod_id: str) -> None:
        record = self._records.get(pod_id)
        self._stop(pod_id)
        for container in self._parts.containers.list(ContainerFilter(pod_id=pod_id)):
            self._containers.remove(container.id)
        self._clear(record)

    def abandon(self, record: PodRecord) -> None:
        """Undo a half-made pod whose maker died; any of its parts may be there."""
        if record.options.security.namespaces.network == "pod" and record.options.connected:
            self._parts.network.detach(plan_network(record.id, record.options), "")
        self._parts.keeper.remove_pod(record.id)
        parent = self._parts.parent_of(record.id, record.options.cgroup_parent)
        self._clear(replace(record, facts=PodFacts(cgroup_parent=parent)))

    def _clear(self, record: PodRecord) -> None:
        """Remove files, cgroups and the record of a pod whose processes and network are gone."""
        self._clear_files(record)
        with step("pod.forget", record.id):
            self._records.delete(record.id)

    def _clear_files(self, record: PodRecord) -> None:
        with step("pod.remove-files", record.id):
            remove_files(f"{self._parts.settings.pods_dir}/{record.id}")
        parent = record.facts.cgroup_parent
        if parent:
            with step("pod.remove-cgroup", record.id):
                self._remove_init_group(self._parts.child_of(parent, record.id))
                self._parts.groups.remove(parent)


def _label(options: PodOptions) -> str:
    return f"{options.namespace}/{options.name}"


def with_resolvers(options: PodOptions, attached: Attached, *, is_rootless: bool) -> PodOptions:
    """An ordinary user's pod reaches the host's name servers by the network's own, unless it names others."""
    servers = attached.result.dns.nameservers
    if not (is_rootless and servers) or options.dns.servers:
        return options
    return replace(options, dns=replace(options.dns, servers=servers))


def _key(options: PodOptions) -> tuple[str, str, str, int]:
    return options.namespace, options.name, options.uid, options.attempt


def choose_hostname(pod_id: str, options: PodOptions) -> str:
    if options.hostname:
        return options.hostname
    if options.security.namespaces.network == "node":
        return os.uname().nodename
    return pod_id[:_SHORT_ID_DIGITS]


def choose_kinds(options: PodOptions) -> tuple[str, ...]:
    """Namespaces of the pod's own; the host name follows the network, as in Kubernetes."""
    namespaces = options.security.namespaces
    kinds = ["net", "uts"] if namespaces.network == "pod" else []
    kinds += ["ipc"] if namespaces.ipc == "pod" else []
    kinds += ["pid"] if namespaces.pid == "pod" else []
    return tuple(kinds)


def plan_network(pod_id: str, options: PodOptions) -> PodNetwork:
    mappings = (mapping for mapping in options.port_mappings if mapping.host_port)
    ports = tuple(HostPort(m.host_port, m.container_port, m.protocol, m.host_ip) for m in mappings)
    dns = {"servers": options.dns.servers, "searches": options.dns.searches, "options": options.dns.options}
    return PodNetwork(
        pod_id,
        options.name,
        options.namespace,
        options.uid,
        ports,
        annotations=options.annotations,
        capabilities={"dns": dns} if any(dns.values()) else {},
        only=tuple(map(_plan_membership, options.networks)),
    )


def _plan_membership(use: NetworkUse) -> Membership:
    wanted = {"ips": list(use.ips), "mac": use.mac, "aliases": list(use.aliases)}
    return Membership(use.name, capabilities={name: value for name, value in wanted.items() if value})


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)
