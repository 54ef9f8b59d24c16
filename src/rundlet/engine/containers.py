"""The life of containers: create, start, stop, remove.

    create   name reserved → snapshot → config.json → plan → keeper (process waits) → created
    start    gate opened → running
    stop     stop signal, wait, SIGKILL → exited
    remove   killed if need be → snapshot, bundle, cgroup removed → record deleted

Stop takes no lock: several callers may wait with their own timeouts, and the shortest
one kills.  What ends a container is recorded once, by whoever hears of it first.
"""

import time

from msgspec.structs import replace

from rundlet.engine.containerend import await_end, kill_container, signal_container, thaw_container
from rundlet.engine.containerwork import ContainerWork
from rundlet.engine.creation import build_container, bundle_path
from rundlet.engine.events import ExitWatcher
from rundlet.engine.exits import record_start_failure
from rundlet.engine.external import unmount_rootfs
from rundlet.engine.imagevolumes import volumes_path
from rundlet.engine.names import new_id
from rundlet.engine.options import ContainerOptions
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import remove_directory
from rundlet.engine.records import ContainerRecord, require_state
from rundlet.engine.restore import restore_path, restore_processes
from rundlet.engine.signals import parse_signal
from rundlet.engine.stats import StatsReader
from rundlet.engine.twins import Twins
from rundlet.engine.undo import Undo
from rundlet.engine.validate import check_container
from rundlet.engine.volumes import unmount_volumes
from rundlet.errors import Error, FailedPrecondition, NotFound
from rundlet.step import step
from rundlet.trace.span import identify

_FAILED_START_S = 1.0
_LIVE = ("created", "running", "unknown")


class Containers(ContainerWork):
    """The containers of one engine; thread-safe."""

    def __init__(self, parts: Parts, stats: StatsReader, watcher: ExitWatcher) -> None:
        super().__init__(parts, stats)
        self._watcher = watcher
        self._twins = Twins(self._is_created)
        self._started_unheard: set[str] = set()

    def create(self, pod_prefix: str, options: ContainerOptions, container_id: str = "") -> str:
        """Make a container in a ready pod and answer its id; its process waits for `start`.

        The id is `container_id` when that is given (a fresh one of `names.new_id`).

        Raises NotFound for the pod or the image, FailedPrecondition for a stopped pod,
        AlreadyExists for a taken (name, attempt), InvalidArgument for wrong options.
        """
        pod_id = self._parts.pods.resolve(pod_prefix)
        key = (pod_id, options.name, options.attempt)
        with self._operation("create", "", options.name):
            return self._twins.run(key, options, lambda: self._create(pod_id, options, container_id))

    def offer_again(self, options: ContainerOptions, container_id: str) -> None:
        """Whoever asked for the container did not hear its id: the next to ask for the same gets it."""
        record = self._records.get(container_id)
        self._twins.offer((record.pod_id, options.name, options.attempt), options, container_id)

    def _is_created(self, container_id: str) -> bool:
        try:
            return self._records.get(container_id).state == "created"
        except NotFound:
            return False

    def _create(self, pod_id: str, options: ContainerOptions, container_id: str) -> str:
        with self._parts.locks.hold(pod_id), Undo() as undo:
            pod = self._parts.pods.get(pod_id)
            require_state(pod, "ready", action="create a container in")
            check_container(options, pod.options)
            identity = self._parts.identity
            container_id = container_id or new_id()
            record = ContainerRecord(container_id, pod_id, options, "creating", identity, time.time_ns())
            identify(record.id)
            with step("container.reserve", record.id):
                self._records.reserve(record)
            undo.add(f"drop the record of container {record.id}", self._records.delete, record.id)
            self._watcher.ensure()
            facts = build_container(self._parts, pod, record, undo)
            with step("container.publish", record.id):
                self._records.publish(record.id, facts)
            undo.keep()
        return record.id

    def revive(self, prefix: str) -> None:
        """Make a container that has ended ready to start again, with its id, its files and its log.

        Raises FailedPrecondition unless it has ended and its pod is ready.  After a failure it has still ended.
        """
        container_id = self._records.resolve(prefix)
        pod_id = self._records.get(container_id).pod_id
        with self._operation("revive", container_id), self._parts.locks.hold(pod_id), Undo() as undo:
            record = self._records.get(container_id)
            require_state(record, "exited", action="revive")
            pod = self._parts.pods.get(pod_id)
            require_state(pod, "ready", action="revive a container of")
            self._clear_life(record)
            facts = replace(record.facts, lives=record.facts.lives + 1)
            self._watcher.ensure()
            facts = build_container(self._parts, pod, replace(record, facts=facts), undo)
            with step("container.revive", container_id):
                self._records.revive(container_id, facts)
            undo.keep()

    def start(self, prefix: str) -> None:
        """Raises FailedPrecondition unless the container is created and waits.

        A program that cannot be run raises too, and leaves the container exited.
        """
        container_id = self._records.resolve(prefix)
        with self._operation("start", container_id), self._parts.locks.hold(container_id):
            record = self._records.get(container_id)
            if record.state == "running" and container_id in self._started_unheard:
                self._started_unheard.discard(container_id)
                return
            require_state(record, "created", action="start")
            try:
                with step("container.start", container_id):
                    started_at_ns = self._start(record)
            except Error as error:
                self._settle_failed_start(container_id, error)
                raise
            with step("container.mark-started", container_id):
                self._records.mark_started(container_id, started_at_ns)

    def _open_gate(self, container_id: str) -> int:
        """Let it run, and say since when; an earlier call may have done that, and could not write it down."""
        try:
            return self._parts.keeper.start(container_id)
        except FailedPrecondition:
            state = self._parts.keeper.state(container_id)
            if state.status != "running":
                raise
            return state.started_at_ns

    def offer_start(self, container_id: str) -> None:
        """It was started and nobody heard of that: the next to ask for it is told so."""
        self._started_unheard.add(container_id)

    def _settle_failed_start(self, container_id: str, error: Error) -> None:
        """The container has ended, as a rule.  When it waits on, it was the keeper that failed: start may be tried again."""
        try:
            has_ended = self._parts.keeper.wait(container_id, _FAILED_START_S) is not None
        except NotFound:
            has_ended = True
        except Error:
            has_ended = False  # nobody can say now; the watcher hears of it when there is a keeper again
        if has_ended:
            record_start_failure(self._records, container_id, error)
        else:
            self.offer_start(container_id)

    def _start(self, record: ContainerRecord) -> int:
        """When its program began to run, or its processes went on, in nanoseconds."""
        if not record.facts.restore:
            return self._open_gate(record.id)
        facts = restore_processes(self._parts, record)
        self._records.save_facts(record.id, facts)
        return time.time_ns()

    def stop(self, prefix: str, timeout_s: float) -> None:
        """The stop signal, `timeout_s` of patience (0: none), SIGKILL.  Unknown or ended: nothing to do."""
        try:
            record = self._records.get(self._records.resolve(prefix))
        except NotFound:
            return
        if record.state not in _LIVE:
            return
        with self._operation("stop", record.id, record.options.name):
            self._stop(record, timeout_s)

    def _stop(self, record: ContainerRecord, timeout_s: float) -> None:
        if timeout_s > 0 and record.state == "running":
            thaw_container(self._parts, record)
            signal_container(self._parts, record.id, parse_signal(record.facts.stop_signal))
            if await_end(self._parts, record, timeout_s):
                return
        kill_container(self._parts, record)

    def kill(self, prefix: str, number: int) -> None:
        """Send a signal to the first process; all of them get SIGKILL.  Raises FailedPrecondition unless it runs."""
        record = self._get(prefix)
        require_state(record, "running", "created", action="send a signal to")
        with self._operation("kill", record.id, record.options.name):
            signal_container(self._parts, record.id, number)

    def wait(self, prefix: str, timeout_s: float | None = None) -> int | None:
        """The exit code once it has ended; None when it has not after `timeout_s` (None: no limit).

        Raises NotFound for an unknown container.
        """
        record = self._get(prefix)
        if record.state not in _LIVE or not await_end(self._parts, record, timeout_s):
            return record.exit_code
        return self._records.get(record.id).exit_code

    def remove(self, prefix: str) -> None:
        """Kill it if it lives, and remove all it has; an unknown container counts as removed."""
        try:
            container_id = self._records.resolve(prefix)
        except NotFound:
            return
        with self._operation("remove", container_id), self._parts.locks.hold(container_id):
            try:
                record = self._records.get(container_id)
            except NotFound:
                return
            if record.state in _LIVE:
                kill_container(self._parts, record)
            self.clear(record)

    def clear(self, record: ContainerRecord) -> None:
        """Remove what a container without processes has left, its record last."""
        self._clear_life(record)
        with step("container.remove-snapshot", record.id):
            self._parts.store.snapshots.remove(record.id)
            remove_directory(volumes_path(self._parts.settings.root, record.id))
            remove_directory(restore_path(self._parts.settings.root, record.id))
        self._stats.forget(record.id)
        self._started_unheard.discard(record.id)
        with step("container.forget", record.id):
            self._records.delete(record.id)

    def _clear_life(self, record: ContainerRecord) -> None:
        """What it had to run, but not its files."""
        with step("container.delete", record.id):
            self._parts.keeper.delete(record.id)
        if record.facts.cgroups_path:
            with step("container.remove-cgroup", record.id):
                self._parts.group(record.facts.cgroups_path).remove()
        bundle = bundle_path(self._parts, record.id)
        with step("container.unmount", record.id):
            unmount_rootfs(bundle)
            unmount_volumes(self._parts, record.id, bundle, record.options.mounts)
        with step("container.remove-bundle", record.id):
            remove_directory(bundle)
