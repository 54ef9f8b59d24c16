"""Containers: create, start, stop, remove, look at.

    create   name reserved → snapshot → config.json → plan → keeper (process waits) → created
    start    gate opened → running
    stop     stop signal, wait, SIGKILL → exited
    remove   killed if need be → snapshot, bundle, cgroup removed → record deleted

Stop takes no lock: several callers may wait with their own timeouts, and the shortest
one kills.  What ends a container is recorded once, by whoever hears of it first.
"""

import signal
import time
from collections.abc import Sequence

from msgspec.structs import replace

from rundlet.engine.containerlimits import change_limits
from rundlet.engine.creation import build_container, bundle_path
from rundlet.engine.describe import describe_container
from rundlet.engine.events import ExitWatcher
from rundlet.engine.execchange import plan_change
from rundlet.engine.execution import run_exec
from rundlet.engine.exits import record_exit, record_start_failure, record_unknown_exit
from rundlet.engine.external import unmount_rootfs
from rundlet.engine.imagevolumes import volumes_path
from rundlet.engine.limits import check_resources
from rundlet.engine.names import new_id
from rundlet.engine.options import ContainerFilter, ContainerOptions, ExecOptions, Resources
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import remove_directory
from rundlet.engine.process import read_config
from rundlet.engine.records import ContainerRecord, require_state
from rundlet.engine.restore import restore_path, restore_processes
from rundlet.engine.signals import parse_signal
from rundlet.engine.stats import StatsReader
from rundlet.engine.status import ContainerStats, ContainerStatus, ExecResult
from rundlet.engine.streams import AttachStreams, ExecStreams, start_attach, start_exec
from rundlet.engine.twins import Twins
from rundlet.engine.undo import Undo
from rundlet.engine.validate import check_container, check_streams
from rundlet.engine.volumes import unmount_volumes
from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, InvalidArgument, NotFound
from rundlet.spec.runtime import RuntimeConfig
from rundlet.step import step
from rundlet.store.snapshots import Snapshot
from rundlet.trace.span import Span, identify, waits

_KILL_TIMEOUT_S = 30.0
_FAILED_START_S = 1.0
# A program that fails at once has mostly ended this long after its start; who polls, and looks right after
# the start, learns it then instead of an interval later (4 s in Kubernetes' conformance suite).
_FIRST_MOMENT_S = 0.02
_LIVE = ("created", "running", "unknown")


class Containers:
    """The containers of one engine; thread-safe."""

    def __init__(self, parts: Parts, stats: StatsReader, watcher: ExitWatcher) -> None:
        self._parts = parts
        self._records = parts.containers
        self._stats = stats
        self._watcher = watcher
        self._twins = Twins(self._is_created)
        self._started_unheard: set[str] = set()

    # -- life -------------------------------------------------------------------

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

    def _operation(self, verb: str, container_id: str, label: str = "") -> Span:
        return self._parts.tracer.operation(verb, "container", container_id, label)

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
            self._thaw(record)
            self._signal(record.id, parse_signal(record.facts.stop_signal))
            if self._await_end(record, timeout_s):
                return
        self._kill(record)

    def kill(self, prefix: str, number: int) -> None:
        """Send a signal to the first process; all of them get SIGKILL.  Raises FailedPrecondition unless it runs."""
        record = self._get(prefix)
        require_state(record, "running", "created", action="send a signal to")
        with self._operation("kill", record.id, record.options.name):
            self._signal(record.id, number)

    def wait(self, prefix: str, timeout_s: float | None = None) -> int | None:
        """The exit code once it has ended; None when it has not after `timeout_s` (None: no limit).

        Raises NotFound for an unknown container.
        """
        record = self._get(prefix)
        if record.state not in _LIVE or not self._await_end(record, timeout_s):
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
                self._kill(record)
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

    def _signal(self, container_id: str, number: int) -> None:
        """Whoever has just ended needs no signal any more."""
        try:
            with step("container.signal", container_id):
                self._parts.keeper.signal(container_id, number, everyone=number == signal.SIGKILL)
        except (NotFound, FailedPrecondition):
            pass

    def _await_end(self, record: ContainerRecord, timeout_s: float | None) -> bool:
        """Whether it ended in time; its end is recorded then."""
        try:
            with step("container.await-end", record.id):
                waits("process", f"container {record.options.name}", record.facts.pid, timeout_s)
                end = self._parts.keeper.wait(record.id, timeout_s)
        except NotFound:
            record_unknown_exit(self._records, record.id, "the container's process was lost")
            return True
        if end is not None:
            with step("container.mark-exited", record.id):
                record_exit(self._records, end)
        return end is not None

    def _thaw(self, record: ContainerRecord) -> None:
        """Who is paused takes no signal."""
        group = self._parts.group(record.facts.cgroups_path) if record.facts.cgroups_path else None
        if group is not None and group.exists() and group.is_frozen():
            group.thaw()

    def _kill(self, record: ContainerRecord) -> None:
        self._thaw(record)
        self._signal(record.id, signal.SIGKILL)
        if not self._await_end(record, _KILL_TIMEOUT_S):
            raise DeadlineExceeded(
                f"container {record.id} does not end after SIGKILL for {_KILL_TIMEOUT_S:g} s",
                hint="a process of it may wait for a device or a network file system",
            )

    # -- looks ------------------------------------------------------------------

    def status(self, prefix: str) -> ContainerStatus:
        """Raises NotFound for an unknown container."""
        record = self._get(prefix)
        if record.state == "running" and self._ends_at_once(record):
            record = self._records.get(record.id)
        return self._describe(record)

    def _ends_at_once(self, record: ContainerRecord) -> bool:
        """Whether a container that has just been started ends in its first moment, which is waited for."""
        age_s = (time.time_ns() - record.started_at_ns) / 1e9
        if not 0 <= age_s < _FIRST_MOMENT_S:
            return False
        try:
            return self._await_end(record, _FIRST_MOMENT_S - age_s)
        except (Error, OSError):
            return False  # a look needs no keeper

    def list(self, wanted: ContainerFilter = ContainerFilter()) -> Sequence[ContainerStatus]:  # noqa: B008
        """Newest first."""
        return [self._describe(record) for record in self._records.list(wanted)]

    def config(self, prefix: str) -> RuntimeConfig | None:
        """The config.json that it was made from; None once a reboot has taken it away."""
        try:
            return read_config(bundle_path(self._parts, self._records.resolve(prefix)))
        except FailedPrecondition:
            return None

    def stats(self, prefix: str) -> ContainerStats:
        """Raises NotFound for an unknown container."""
        record = self._get(prefix)
        return self._stats.read_container(record, self._describe(record))

    def list_stats(self, wanted: ContainerFilter = ContainerFilter()) -> Sequence[ContainerStats]:  # noqa: B008
        """Of the running ones only, as CRI has it."""
        found = []
        for record in self._records.list(wanted):
            if record.state != "running":
                continue
            try:
                found.append(self._stats.read_container(record, self._describe(record)))
            except NotFound:
                continue  # it ended between the two looks
        return found

    def _get(self, prefix: str) -> ContainerRecord:
        return self._records.get(self._records.resolve(prefix))

    def _describe(self, record: ContainerRecord) -> ContainerStatus:
        return describe_container(record)

    # -- work on a running one ----------------------------------------------------

    def exec_sync(
        self,
        prefix: str,
        argv: Sequence[str],
        timeout_s: float | None = None,
        *,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
        stdin: bytes | None = None,
        output_limit_bytes: int = 0,
    ) -> ExecResult:
        """Run `argv` in the container, give it `stdin`, and collect what it writes.

        Raises NotFound when the container is not running or has no such program,
        DeadlineExceeded after `timeout_s` (None or 0: no limit); the process is gone then.
        """
        record = self._find_running(prefix, argv)
        with self._operation("exec", record.id, record.options.name):
            change = plan_change(self._parts, record, options)
            return run_exec(
                self._parts,
                record,
                argv,
                timeout_s or None,
                change=change,
                stdin=stdin,
                output_limit_bytes=output_limit_bytes,
            )

    def exec_stream(
        self,
        prefix: str,
        argv: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        terminal: bool = False,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
    ) -> ExecStreams:
        """Run `argv` in the container with live streams; the caller closes them.

        Raises NotFound when the container is not running or has no such program.
        """
        record = self._find_running(prefix, argv)
        with self._operation("exec", record.id, record.options.name), step("container.exec", record.id):
            return start_exec(
                self._parts,
                record,
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                terminal=terminal,
                change=plan_change(self._parts, record, options),
            )

    def attach(
        self,
        prefix: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        lossless: bool = False,
    ) -> AttachStreams:
        """The container's own streams from now on; the caller closes them.

        `lossless`: the container waits for a caller that does not read, and the exit code comes at the end;
        attached before the start, it misses nothing at all.
        Raises FailedPrecondition when the container has ended.
        """
        record = self._get(prefix)
        return start_attach(self._parts, record, stdin=stdin, stdout=stdout, stderr=stderr, lossless=lossless)

    def check_exec(
        self, prefix: str, argv: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, terminal: bool
    ) -> str:
        """The full id, when `exec_stream` could begin now; raises what that would."""
        check_streams(stdin=stdin, stdout=stdout, stderr=stderr, terminal=terminal)
        return self._find_running(prefix, argv).id

    def check_attach(self, prefix: str, *, stdin: bool, stdout: bool, stderr: bool, terminal: bool) -> str:
        """The full id, when `attach` could begin now; raises what that would."""
        check_streams(stdin=stdin, stdout=stdout, stderr=stderr, terminal=terminal)
        record = self._get(prefix)
        require_state(record, "created", "running", action="attach to")
        return record.id

    def _find_running(self, prefix: str, argv: Sequence[str]) -> ContainerRecord:
        if not argv:
            raise InvalidArgument("cmd: must name a program")
        record = self._get(prefix)
        if record.state != "running":
            raise NotFound(f"container {record.id} is not running: it is {record.state}")
        return record

    def pause(self, prefix: str) -> None:
        """Freeze all of its processes; raises FailedPrecondition unless it runs."""
        record = self._get(prefix)
        require_state(record, "running", action="pause")
        self._parts.group(record.facts.cgroups_path).freeze()

    def unpause(self, prefix: str) -> None:
        """Let its processes go on; nothing happens to one that is not paused."""
        record = self._get(prefix)
        if record.state == "running":
            self._parts.group(record.facts.cgroups_path).thaw()

    def is_paused(self, prefix: str) -> bool:
        record = self._get(prefix)
        group = self._parts.group(record.facts.cgroups_path)
        return record.state == "running" and group.exists() and group.is_frozen()

    def pids(self, prefix: str) -> Sequence[int]:
        """Its processes, as the host numbers them; raises FailedPrecondition unless it runs."""
        record = self._get(prefix)
        require_state(record, "running", action="list the processes of")
        return sorted(self._parts.group(record.facts.cgroups_path).pids(recursive=True))

    def usage(self, prefix: str) -> tuple[int, int]:
        """Bytes and inodes of what it has changed in its files."""
        return self._parts.store.snapshots.usage(self._get(prefix).id)

    def snapshot(self, prefix: str) -> Snapshot:
        """Where its files lie: the image's layers, top first, and what it has changed."""
        record = self._get(prefix)
        found = self._parts.store.snapshots.find(record.id)
        if found is None:
            raise NotFound(f"container {record.id} has no files")
        return found

    def reopen_log(self, prefix: str) -> None:
        """Go on in a new log file after a rotation; raises FailedPrecondition when not running."""
        record = self._get(prefix)
        require_state(record, "running", action="reopen the log of")
        self._parts.keeper.reopen_log(record.id)

    def checkpoint(self, prefix: str, location: str, timeout_s: float = 0) -> None:
        """Write the memory and files of a running container to the file `location`; it runs on.

        Raises Unimplemented where there is no criu, FailedPrecondition when it is not running or criu fails.
        """
        container_id = self._records.resolve(prefix)
        with self._operation("checkpoint", container_id), self._parts.locks.hold(container_id):
            record = self._records.get(container_id)
            require_state(record, "running", action="make a checkpoint of")
            from rundlet.engine.checkpoint import take_checkpoint  # slow, and seldom wanted

            take_checkpoint(self._parts, self._parts.pods.get(record.pod_id), record, location, timeout_s)

    def update_resources(self, prefix: str, wanted: Resources) -> None:
        """Change limits of a container that has not ended; on failure the old ones are put back."""
        check_resources(wanted, "resources")
        container_id = self._records.resolve(prefix)
        with self._parts.locks.hold(container_id):
            record = self._records.get(container_id)
            require_state(record, "created", "running", action="update")
            merged = change_limits(self._parts, record, wanted)
            self._records.save_resources(container_id, merged)
