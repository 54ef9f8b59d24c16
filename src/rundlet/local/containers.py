"""Containers of this machine: create, start, stop, remove, look at.

    create   image → names, volumes, networks looked up → plan → name reserved → pod → container → published
    start    created: gate opened.  Ended: its pod and itself revived first
    stop     stopped, its own pod's network let go
    remove   its own pod with it, else itself → log → name

A verb on one container holds its lock, whichever process it comes from; waiting for it to end
holds none.  Containers that were made over CRI are listed, and obey when they are named by their id;
nothing is done to them otherwise.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.archive.tree import remove_tree
from rundlet.engine.engine import Engine
from rundlet.engine.explain import Section
from rundlet.engine.names import new_id, process_identity
from rundlet.engine.options import ContainerFilter, ExecOptions, PodOptions, Resources
from rundlet.engine.signals import parse_signal
from rundlet.engine.status import ContainerStatus, ExecResult, PodStatus
from rundlet.engine.streams import AttachStreams, ExecStreams
from rundlet.engine.undo import Undo, attempt
from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.local.duties import is_demanding, needs_look
from rundlet.local.health import choose_check
from rundlet.local.holdings import Holdings
from rundlet.local.images import find_or_pull
from rundlet.local.locks import ContainerLocks
from rundlet.local.logs import LogEntry, read_log
from rundlet.local.names import check_name, invent_name
from rundlet.local.options import RunOptions
from rundlet.local.plan import LocalPlan, joins_other, plan_run
from rundlet.local.ports import choose_ports
from rundlet.local.records import LocalRecord, LocalRecords, LocalState, want
from rundlet.local.settings import Places
from rundlet.local.status import Container, ContainerQuery, describe
from rundlet.local.wish import Wishes
from rundlet.step import step

_NAME_TRIES = 8


class Found(NamedTuple):
    """A container by whatever name it was asked for; `record` is None for one that was made over CRI."""

    id: str
    record: LocalRecord | None

    def require_local(self, action: str) -> LocalRecord:
        if self.record is None:
            raise FailedPrecondition(
                f"cannot {action} container {self.id[:12]}: it belongs to a pod that was made over CRI",
                hint=f"its kubelet would be surprised; `rundlet cri {action}` does it all the same",
            )
        return self.record


class Containers:
    """The containers of one machine; thread-safe."""

    def __init__(
        self,
        engine: Engine,
        records: LocalRecords,
        locks: ContainerLocks,
        directory: str,
        holdings: Holdings,
        find_pod: Callable[[str], str],
        wishes: Wishes,
    ) -> None:
        """`directory` has a directory for each container; `find_pod` gives the id of a pod by its name."""
        self._engine = engine
        self._records = records
        self._holdings = holdings
        self._find_pod = find_pod
        self._wishes = wishes
        self._locks = locks
        self._directory = directory

    # -- life -------------------------------------------------------------------

    def create(self, asked: RunOptions) -> str:
        """Make a container and answer its id; its first process waits for `start`.

        Pulls the image as `asked.pull` says.  Raises InvalidArgument for wrong options, NotFound for
        what they name and is not there, AlreadyExists for a taken name, and what the engine raises;
        nothing is left then.
        """
        asked, pod_id = self._join(asked)
        _check_binds(asked)
        image = find_or_pull(self._engine, asked)
        asked = self._holdings.name(
            asked, image, lambda name: self.find(name).require_local("share volumes of")
        )
        asked = replace(asked, health=choose_check(asked.health, image.config.config.healthcheck))
        container_id = new_id()
        record = self._reserve(asked, container_id, pod_id)
        with self._locks.hold(container_id), Undo() as undo:
            # The record is what tells whose the volumes are: it goes first, and they behind it.
            made: list[str] = []
            undo.add("remove the volumes made for it", self._holdings.volumes.remove_all, made)
            undo.add(
                f"release what container {record.name} held", self._holdings.release, record, volumes=True
            )
            undo.add(f"remove container {record.name}", self.clear, record)
            ports = choose_ports(asked, image.config.config)
            facts = self._holdings.gather(record, image, self._directory, ports, made)
            facts = facts._replace(keeps_limits=self._engine.keeps_limits)
            self._act(record, plan_run(replace(asked, name=record.name), facts))
            with step("local.publish", container_id):
                self._records.publish(container_id)
            undo.keep()
        return container_id

    def explain(self, asked: RunOptions, places: Places) -> Sequence[Section]:
        """Every step that `run` would take; none is taken.  Raises what `create` raises for wrong options."""
        asked, pod_id = self._join(asked)
        from rundlet.local.explain import explain_run  # what runs needs none of it

        return explain_run(
            self._engine,
            self._holdings,
            asked,
            pod_id,
            lambda name: self.find(name).require_local("share volumes of"),
            places,
        )

    def run(self, asked: RunOptions) -> str:
        """`create` and `start` in one; a container that cannot be started is removed again."""
        container_id = self.create(asked)
        try:
            self.start(container_id)
        except BaseException:
            attempt(f"remove container {container_id[:12]}", self.remove, container_id, force=True)
            raise
        return container_id

    def _join(self, asked: RunOptions) -> tuple[RunOptions, str]:
        """The options with the joined container's full id in place of its name, and the pod to go into ("": its own)."""
        if asked.name:
            check_name(asked.name, "container")
        other = joins_other(asked)
        if asked.pod and other:
            raise InvalidArgument(f"--pod and the namespaces of container {other} exclude each other")
        if asked.pod:
            return asked, self._find_pod(asked.pod)
        if not other:
            return asked, ""
        target = self._engine.containers.status(self.find(other).id)
        pid = (
            f"container:{target.id}"
            if asked.namespaces.pid.startswith("container:")
            else asked.namespaces.pid
        )
        return replace(asked, namespaces=replace(asked.namespaces, pid=pid)), target.pod_id

    def _reserve(self, asked: RunOptions, container_id: str, pod_id: str) -> LocalRecord:
        owner = process_identity(os.getpid())
        record = LocalRecord(
            id=container_id,
            name=asked.name or invent_name(),
            pod_id=pod_id or new_id(),
            own_pod=not pod_id,
            owner=owner,
            created_at_ns=time.time_ns(),
            asked=asked,
        )
        for tries_left in reversed(range(_NAME_TRIES)):
            try:
                with step("local.reserve", container_id):
                    self._records.reserve(record)
            except AlreadyExists:
                if asked.name or not tries_left:
                    raise
                record = replace(record, name=invent_name())
            else:
                break
        return record

    def _act(self, record: LocalRecord, plan: LocalPlan) -> None:
        os.makedirs(self._log_directory(record.id), mode=0o700, exist_ok=True)
        self._holdings.ready(record)
        if plan.pod is not None:
            self._engine.pods.run(plan.pod, record.pod_id)
        else:
            self._make_ready(record.pod_id)
        self._engine.containers.create(record.pod_id, plan.container, record.id)
        self._holdings.name_neighbours(record)

    def start(self, name: str, *, attended: bool = False) -> None:
        """Let a created container run, or one that has ended run anew; nothing happens to one that runs.

        `attended`: the caller stays until it ends, and calls `settle` then; nobody else is needed for that.
        Raises NotFound, and what the engine raises; a program that cannot be run leaves it ended.
        """
        found = self.find(name)
        if found.record is None:
            self._engine.containers.start(found.id)
            return
        record = found.record
        for needed in record.asked.requires:
            self.start(needed)
        minded = not attended or is_demanding(record.asked)
        with self._locks.hold(record.id):
            state = self._engine.containers.status(record.id).state
            if state == "running":
                return
            self._want(record.id, "running")
            if minded:
                self._wishes.wish(look=False)  # before the start, or it might miss the end
            else:
                self._wishes.attend(record.id)
            try:
                self._begin(record, state)
            except BaseException:
                if minded:
                    self._wishes.wish(look=True)  # it may find that it is not needed
                self._wishes.has_settled(record.id)
                self._want(record.id, "stopped")  # no policy brings back what a person could not start
                raise
        if needs_look(record.asked):
            self._wishes.wish(look=True)

    def start_again(self, container_id: str, due_at_ns: int) -> None:
        """The restart that was due then, unless it was done already or somebody has decided otherwise."""
        with self._locks.hold(container_id):
            record = self.find(container_id).require_local("restart")
            status = self._engine.containers.status(record.id)
            is_due = record.state.wanted == "running" and record.state.restart_at_ns == due_at_ns
            is_ready = status.state == "created" and status.lives > record.state.restart_after
            if is_due and (
                is_ready or (status.state == "exited" and status.lives == record.state.restart_after)
            ):
                self._begin(record, status.state)

    def _begin(self, record: LocalRecord, state: str) -> None:
        if state != "created":
            self._revive(record)
        self._engine.containers.start(record.id)

    def prepare(self, name: str) -> None:
        """An ended container waits for its start anew, so that it can be attached to before."""
        record = self.find(name).require_local("start")
        with self._locks.hold(record.id):
            if self._engine.containers.status(record.id).state == "exited":
                self._revive(record)

    def _want(self, container_id: str, wanted: str) -> None:
        self._records.change_state(container_id, lambda state: want(state, wanted))  # type: ignore[arg-type]

    def _revive(self, record: LocalRecord) -> None:
        self._holdings.ready(record)
        self._make_ready(record.pod_id)
        self._holdings.name_neighbours(record)
        self._engine.containers.revive(record.id)

    def _make_ready(self, pod_id: str) -> None:
        """A pod whose last container has ended may have been stopped."""
        if self._engine.pods.status(pod_id).state != "ready":
            self._engine.pods.revive(pod_id)

    def stop(self, name: str, timeout_s: float | None = None) -> None:
        """The stop signal, `timeout_s` of patience (None: what was asked at `create`), SIGKILL; the network is let go.

        Nothing happens to one that has ended.
        """
        found = self.find(name)
        if found.record is None:
            self._engine.containers.stop(found.id, timeout_s or 0)
            return
        record = found.record
        with self._locks.hold(record.id):
            self._want(record.id, "stopped")
            self._engine.containers.stop(
                record.id, record.asked.stop_timeout_s if timeout_s is None else timeout_s
            )
            self._let_go(record)

    def kill(self, name: str, signal_name: str = "SIGKILL") -> None:
        """Raises FailedPrecondition unless it runs."""
        found = self.find(name)
        number = parse_signal(signal_name)
        if found.record is not None and number == signal.SIGKILL:
            self._want(found.id, "stopped")
        self._engine.containers.kill(found.id, number)

    def restart(self, name: str, timeout_s: float | None = None) -> None:
        """`stop` and `start` in one."""
        self.stop(name, timeout_s)
        self.start(name)

    def settle(self, name: str) -> None:
        """What follows the end of a container that nothing starts again: its network is let go, or all of it (`--rm`).

        Idempotent; whoever hears of the end calls it, who attended the start with the id.
        """
        try:
            record = self.find(name).require_local("settle")
            if record.asked.remove:
                self.remove(record.id)
                self._remove_image(record)
            else:
                with self._locks.hold(record.id):
                    if self._engine.containers.status(record.id).state == "exited":
                        self._let_go(record)
        except NotFound:
            pass  # somebody was faster
        self._wishes.has_settled(name)

    def _remove_image(self, record: LocalRecord) -> None:
        """`--rmi`: one that other containers use stays."""
        if record.asked.remove_image:
            try:
                self._engine.images.remove(record.asked.image)
            except FailedPrecondition:
                pass

    def _let_go(self, record: LocalRecord) -> None:
        """The network and namespaces of a pod of its own."""
        if record.own_pod:
            self._engine.pods.stop(record.pod_id)
            self._holdings.name_neighbours(record)

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and all that it has, with `volumes` its anonymous ones too (`--rm` always).  Raises FailedPrecondition while it runs, unless `force` kills it."""
        found = self.find(name)
        if not force and self._engine.containers.status(found.id).state == "running":
            raise FailedPrecondition(
                f"cannot remove container {name}: it is running", hint="stop it first, or force the removal"
            )
        if found.record is None:
            self._engine.containers.remove(found.id)
            return
        record = found.record
        with self._locks.hold(record.id):
            self._records.claim(record.id, process_identity(os.getpid()))
            self.clear(record)
        self._holdings.release(record, volumes=volumes or record.asked.remove)

    def clear(self, record: LocalRecord) -> None:
        """Remove all of a container, whole or half made; its record goes last.  Idempotent."""
        if record.own_pod:
            self._engine.pods.remove(record.pod_id)
        else:
            self._engine.containers.remove(record.id)
        directory = self._log_directory(record.id)
        with translating(f"remove {directory}"), step("local.remove-log", record.id):
            remove_tree(directory)
        with step("local.forget", record.id):
            self._records.delete(record.id)
        self._locks.forget(record.id)

    def discard(self, record: LocalRecord) -> None:
        """What a process that died has left of a container, and what it held.  Idempotent."""
        self.clear(record)
        self._holdings.release(record, volumes=bool(record.owner) or record.asked.remove)

    def wait(self, name: str, timeout_s: float | None = None) -> int | None:
        """The exit code once it has ended, None when it has not after `timeout_s`."""
        return self._engine.containers.wait(self.find(name).id, timeout_s)

    def rename(self, name: str, new_name: str) -> None:
        """Raises AlreadyExists for a taken name."""
        check_name(new_name, "container")
        self._records.rename(self.find(name).require_local("rename").id, new_name)

    def attach(
        self,
        name: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        lossless: bool = False,
    ) -> AttachStreams:
        """The container's own streams from now on; attached to before `start`, nothing is missed.

        `lossless`: the container waits for a caller that does not read, and the exit code comes at the end.
        """
        return self._engine.containers.attach(
            self.find(name).id, stdin=stdin, stdout=stdout, stderr=stderr, lossless=lossless
        )

    def pause(self, name: str) -> None:
        """Freeze all of its processes; raises FailedPrecondition unless it runs."""
        self._engine.containers.pause(self.find(name).require_local("pause").id)

    def unpause(self, name: str) -> None:
        """Let its processes go on; raises FailedPrecondition unless it is paused."""
        record = self.find(name).require_local("unpause")
        if not self._engine.containers.is_paused(record.id):
            raise FailedPrecondition(f"cannot unpause container {record.name}: it is not paused")
        self._engine.containers.unpause(record.id)

    def update(self, name: str, wanted: Resources) -> None:
        """Change limits of a container that has not ended; what is not mentioned stays."""
        self._engine.containers.update_resources(self.find(name).require_local("update").id, wanted)

    # -- looks ------------------------------------------------------------------

    def get(self, name: str) -> Container:
        """Raises NotFound for an unknown container."""
        found = self.find(name)
        status = self._engine.containers.status(found.id)
        pods = {status.pod_id: self._engine.pods.status(status.pod_id)}
        return self._show_paused(_describe(status, found.record, pods))

    def _show_paused(self, container: Container) -> Container:
        """The engine's records do not know; the kernel does."""
        if container.state == "running" and self._engine.containers.is_paused(container.id):
            return replace(container, state="paused")
        return container

    def list(self, query: ContainerQuery = ContainerQuery()) -> Sequence[Container]:  # noqa: B008 - immutable
        """Newest first; only those that run unless the query says more."""
        records = {record.id: record for record in self._records.list()}
        pods = {pod.id: pod for pod in self._engine.pods.list()}
        statuses = self._engine.containers.list(ContainerFilter(origin=query.origin))
        found = (
            self._show_paused(_describe(status, records.get(status.id), pods))
            for status in statuses
            if status.pod_id in pods
        )
        return [container for container in found if _matches(container, query)]

    def find(self, text: str) -> Found:
        """By name, id or the beginning of one id.  Raises NotFound, InvalidArgument when it is ambiguous."""
        record = self._records.find(text)
        if record is not None:
            return Found(record.id, record)
        try:
            return Found(self._engine.containers.status(text).id, None)
        except NotFound as error:
            raise NotFound(
                f"no such container: {text!r}",
                hint="`rundlet ps --all` lists them, those that have ended too",
            ) from error

    def state(self, name: str) -> LocalState:
        """Raises NotFound."""
        return self.find(name).require_local("look at").state

    def logs(
        self, name: str, *, follow: bool = False, tail: int = -1, since_ns: int = 0, until_ns: int = 0
    ) -> Iterator[LogEntry]:
        """What it has written; with `follow` what it writes until it ends."""
        status = self._engine.containers.status(self.find(name).id)
        return read_log(
            status.log_path,
            lambda: self._has_ended(status.id),
            follow=follow,
            tail=tail,
            since_ns=since_ns,
            until_ns=until_ns,
        )

    def _has_ended(self, container_id: str) -> bool:
        try:
            return self._engine.containers.status(container_id).state not in ("created", "running")
        except NotFound:
            return True

    # -- work inside ------------------------------------------------------------

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
        stdin: bytes | None = None,
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run a program in it to its end, and collect what it writes (at most 16 MiB of each output)."""
        container_id = self.find(name).id
        return self._engine.containers.exec_sync(container_id, argv, timeout_s, options=options, stdin=stdin)

    def exec_stream(
        self,
        name: str,
        argv: Sequence[str],
        *,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
        stdin: bool = False,
        terminal: bool = False,
    ) -> ExecStreams:
        """Run a program in it with live streams; the caller closes them."""
        container_id = self.find(name).id
        return self._engine.containers.exec_stream(
            container_id, argv, stdin=stdin, stderr=not terminal, terminal=terminal, options=options
        )

    def _log_directory(self, container_id: str) -> str:
        return f"{self._directory}/{container_id}"


def _check_binds(asked: RunOptions) -> None:
    """Raises NotFound for a path that is not on this host: one made for it would hide a mistake."""
    for mount in asked.mounts:
        if mount.kind == "bind" and not os.path.exists(mount.source):
            raise NotFound(
                f"mount {mount.target}: there is no {mount.source} on this host",
                hint="make it first, or name a volume, which is made when it is missing",
            )


def _describe(status: ContainerStatus, record: LocalRecord | None, pods: dict[str, PodStatus]) -> Container:
    pod = pods[status.pod_id]
    options: PodOptions = pod.options
    return describe(
        status, record, options.name, options.port_mappings, pod.ips if pod.state == "ready" else ()
    )


def _matches(container: Container, query: ContainerQuery) -> bool:
    """All conditions of the query."""
    if query.states:
        shown = container.state in query.states
    else:
        shown = query.all or container.state in ("running", "paused")
    return (
        shown
        and (not query.ids or any(container.id.startswith(prefix) for prefix in query.ids))
        and (not query.names or any(name in container.name for name in query.names))
        and all(container.labels.get(key) == value for key, value in query.labels.items())
        and query.pod in ("", container.pod_id, container.pod_name)
        and query.image in ("", container.image, container.image_id)
    )
