"""The life of pod sandboxes: run, stop, remove.

    run     name reserved → directory → cgroup → namespaces (keeper) → network → files → ready
    stop    containers killed → network detached → namespaces dropped → notready
    remove  stop → containers removed → files and cgroup removed → record deleted

Every step of `run` is undone in reverse when a later one fails, the name last, so that a
retry with the same metadata works and nothing is left.  Stop and remove are idempotent.
"""

import time
from collections.abc import Sequence

from msgspec.structs import replace

from rundlet.engine.containers import Containers
from rundlet.engine.handlers import Handler
from rundlet.engine.limits import check_resources
from rundlet.engine.names import new_id
from rundlet.engine.options import ContainerFilter, NetworkUse, PodOptions, Resources
from rundlet.engine.parts import Parts
from rundlet.engine.podcreation import build_pod, remove_init_group
from rundlet.engine.podfiles import remove_files, write_neighbours
from rundlet.engine.podlimits import change_pod_limits
from rundlet.engine.podlooks import PodLooks
from rundlet.engine.podplan import plan_membership, plan_network
from rundlet.engine.records import PodFacts, PodRecord, require_state
from rundlet.engine.stats import StatsReader
from rundlet.engine.twins import Twins
from rundlet.engine.undo import Undo
from rundlet.engine.validate import check_pod
from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from rundlet.network.pod import PodNetns
from rundlet.step import step
from rundlet.trace.span import Span, identify


class Pods(PodLooks):
    """The pods of one engine; thread-safe."""

    def __init__(self, parts: Parts, containers: Containers, stats: StatsReader) -> None:
        super().__init__(parts, containers, stats)
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
            facts = build_pod(self._parts, pod_id, record.options, record.facts.runtime_handler, undo)
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
            facts = build_pod(self._parts, record.id, options, handler.name, undo)
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

    def connect(self, prefix: str, use: NetworkUse) -> None:
        """Put a pod on one more of the machine's own networks, at once when it is ready.

        Raises AlreadyExists for a pod that is on it, and what attaching raises; then nothing has changed.
        """
        pod_id = self._records.resolve(prefix)
        with self._operation("connect", pod_id), self._parts.locks.hold(pod_id), Undo() as undo:
            record = self._records.get(pod_id)
            options, facts = record.options, record.facts
            if any(one.name == use.name for one in options.networks):
                raise AlreadyExists(f"pod {options.name} is on network {use.name} already")
            if record.state == "ready":
                path = facts.namespaces["net"]
                undo.add(f"leave network {use.name}", self._parts.network.leave, pod_id, use.name, path)
                with step("pod.network", pod_id):
                    wanted = plan_membership(use)
                    link = self._parts.network.join(
                        plan_network(pod_id, options), wanted, PodNetns(path, -1, -1)
                    )
                facts = replace(facts, ips=facts.ips or link.ips)
            self._records.save_networks(pod_id, (*options.networks, use), facts)
            undo.keep()

    def disconnect(self, prefix: str, network: str) -> None:
        """Take a pod off one of the machine's own networks, at once when it is ready.

        Raises NotFound for a pod that is not on it.
        """
        pod_id = self._records.resolve(prefix)
        with self._operation("disconnect", pod_id), self._parts.locks.hold(pod_id):
            record = self._records.get(pod_id)
            left = [use for use in record.options.networks if use.name != network]
            if len(left) == len(record.options.networks):
                raise NotFound(f"pod {record.options.name} is not on network {network}")
            facts = record.facts
            if record.state == "ready":
                with step("pod.detach", pod_id):
                    self._parts.network.leave(pod_id, network, facts.namespaces["net"])
                links = self._parts.network.links(pod_id)
                facts = replace(facts, ips=links[0].ips if links else ())
            self._records.save_networks(pod_id, left, facts)

    def name_neighbours(self, prefix: str, neighbours: Sequence[tuple[str, str]]) -> None:
        """Say in the pod's /etc/hosts, which its containers have open, who its neighbours (address, name) are now.

        Nothing happens for a pod that is not ready: it has no file.
        """
        pod_id = self._records.resolve(prefix)
        with self._parts.locks.hold(pod_id):
            if self._records.get(pod_id).state == "ready":
                write_neighbours(f"{self._parts.settings.pods_dir}/{pod_id}/hosts", neighbours)

    def _choose_handler(self, options: PodOptions) -> Handler:
        handler = self._parts.handlers.find(options.runtime_handler)
        if options.security.namespaces.user == "pod" and not self._parts.handlers.can_map_users(handler):
            raise InvalidArgument(
                f"security.namespaces.user: runtime handler {handler.name!r} makes no user namespaces here",
                hint="`crictl info` has the handlers that do under runtimeHandlers",
            )
        return handler

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
                remove_init_group(self._parts, self._parts.child_of(parent, record.id))
                self._parts.groups.remove(parent)


def _label(options: PodOptions) -> str:
    return f"{options.namespace}/{options.name}"


def _key(options: PodOptions) -> tuple[str, str, str, int]:
    return options.namespace, options.name, options.uid, options.attempt
