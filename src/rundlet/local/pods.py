"""Pods: what several containers share, its network first.

    local_pods   name → id, when it was made, what was asked

A pod is a sandbox of the engine; no process keeps it.  Starting one makes the sandbox ready and
starts its containers in the order in which they were made; stopping one stops them and lets its
network go.  Its containers are those whose record names it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.names import is_id_prefix, new_id, pick_id
from rundlet.engine.options import PodFilter, PortMapping
from rundlet.engine.signals import parse_signal
from rundlet.engine.undo import Undo
from rundlet.errors import AlreadyExists, Error, FailedPrecondition, InvalidArgument, NotFound
from rundlet.local.containers import Containers
from rundlet.local.locks import ContainerLocks
from rundlet.local.names import check_name, invent_name
from rundlet.local.networks import Networks
from rundlet.local.options import PodRequest
from rundlet.local.plan import Facts, plan_pod
from rundlet.local.ports import choose_port
from rundlet.local.records import LocalRecord, LocalRecords
from rundlet.local.status import ContainerQuery
from rundlet.local.table import NamedTable
from rundlet.step import step
from rundlet.store.database import Database

POD_TABLE = "local_pods"
_SHARED = {"ipc", "net", "uts"}
_SHAREABLE = _SHARED | {"pid"}

PodState = Literal["Created", "Running", "Degraded", "Exited", "Stopped", "Paused"]


class PodRecord(Struct, frozen=True):
    id: str
    created_at_ns: int
    asked: PodRequest


class PodMember(Struct, frozen=True):
    id: str
    name: str
    state: str


class Pod(Struct, frozen=True):
    """`ports` are those that were chosen, `ips` none while the pod is stopped."""

    id: str
    name: str
    state: PodState
    created_at_ns: int
    members: tuple[PodMember, ...]
    networks: tuple[str, ...]
    ips: tuple[str, ...]
    ports: tuple[PortMapping, ...]
    labels: dict[str, str]
    asked: PodRequest


class PodRecords:
    """Pods by name or id."""

    def __init__(self, database: Database) -> None:
        self.table = NamedTable(database, POD_TABLE, PodRecord, "pod")

    def find(self, text: str) -> tuple[str, PodRecord]:
        """Raises NotFound, InvalidArgument when it is the beginning of several ids."""
        found = self.table.find(text)
        if found is not None:
            return text, found
        by_id = {record.id: (name, record) for name, record in self.table.list().items()}
        matching = [pod_id for pod_id in by_id if is_id_prefix(text) and pod_id.startswith(text)]
        if not matching:
            raise NotFound(
                f"no such pod: {text!r}", hint="`rundlet pod ps` lists them, `pod create` makes one"
            )
        return by_id[pick_id(text, matching, "pod") if len(matching) > 1 else matching[0]]


class Pods:
    """Of one machine; thread-safe, and for several processes."""

    def __init__(
        self,
        engine: Engine,
        pods: PodRecords,
        records: LocalRecords,
        containers: Containers,
        networks: Networks,
        locks: ContainerLocks,
        log_directory: str,
    ) -> None:
        """`log_directory` has the logs of all containers."""
        self._engine = engine
        self._pods = pods
        self._records = records
        self._containers = containers
        self._networks = networks
        self._locks = locks
        self._log_directory = log_directory

    def create(self, asked: PodRequest) -> str:
        """Make a pod and answer its id; containers may join it now.

        Raises InvalidArgument for wrong options, AlreadyExists for a taken name or port, NotFound for
        a network that is not there; nothing is left then.
        """
        name = asked.name or invent_name()
        check_name(name, "pod")
        _check_share(asked)
        if self._records.find(name) is not None:
            raise AlreadyExists(f"the name {name!r} is taken by a container")
        facts = Facts(
            image_id="",
            image_name="",
            log_directory=self._log_directory,
            ports=tuple(map(choose_port, asked.ports)),
            networks=self._networks.choose(asked.network),
        )
        pod_id = new_id()
        with self._locks.hold(f"pod-{pod_id}"), Undo() as undo, step("pod.make", pod_id):
            self._pods.table.add(name, PodRecord(pod_id, time.time_ns(), replace(asked, name=name)))
            undo.add(f"forget pod {name}", self._pods.table.delete, name)
            undo.add(f"remove pod {name}", self._engine.pods.remove, pod_id)
            self._engine.pods.run(plan_pod(asked, name, facts), pod_id)
            undo.keep()
        self._networks.name_neighbours(asked.network.names)
        self._tell("create", name, pod_id, asked)
        return pod_id

    def _tell(self, action: str, name: str, pod_id: str, asked: PodRequest) -> None:
        self._engine.journal.note("pod", action, pod_id, name, labels=asked.labels)

    def _tell_of(self, action: str, text: str) -> None:
        name, record = self._pods.find(text)
        self._tell(action, name, record.id, record.asked)

    def start(self, text: str) -> None:
        """Raises NotFound, and the first error of its containers after all were tried."""
        _, record = self._pods.find(text)
        with self._locks.hold(f"pod-{record.id}"):
            if self._engine.pods.status(record.id).state != "ready":
                self._engine.pods.revive(record.id)
        self._networks.name_neighbours(record.asked.network.names)
        self._each(record, self._containers.start)
        self._tell_of("start", text)

    def stop(self, text: str, timeout_s: float | None = None) -> None:
        """Its containers, the newest first, then its network and namespaces.  Idempotent."""
        _, record = self._pods.find(text)
        self._each(record, lambda container: self._containers.stop(container, timeout_s), newest_first=True)
        with self._locks.hold(f"pod-{record.id}"):
            self._engine.pods.stop(record.id)
        self._networks.name_neighbours(record.asked.network.names)
        self._tell_of("stop", text)

    def restart(self, text: str, timeout_s: float | None = None) -> None:
        """Stop and start it; what is running is given `timeout_s` to end by itself."""
        self.stop(text, timeout_s)
        self.start(text)

    def kill(self, text: str, signal_name: str = "SIGKILL") -> None:
        """Send a signal to each of its containers that runs."""
        parse_signal(signal_name)
        running = {member.id for member in self.get(text).members if member.state in ("running", "paused")}
        _, record = self._pods.find(text)
        self._each(record, lambda container: self._containers.kill(container, signal_name), only=running)
        self._tell_of("kill", text)

    def pause(self, text: str) -> None:
        """Freeze each of its containers that runs."""
        self._each_in(text, "running", self._containers.pause)
        self._tell_of("pause", text)

    def unpause(self, text: str) -> None:
        """Let its paused containers go on."""
        self._each_in(text, "paused", self._containers.unpause)
        self._tell_of("unpause", text)

    def _each_in(self, text: str, state: str, verb: Callable[[str], None]) -> None:
        chosen = {member.id for member in self.get(text).members if member.state == state}
        self._each(self._pods.find(text)[1], verb, only=chosen)

    def remove(self, text: str, *, force: bool = False) -> None:
        """With its containers.  Raises FailedPrecondition while one runs, unless `force` kills them."""
        name, record = self._pods.find(text)
        running = [member.name for member in self.get(name).members if member.state in ("running", "paused")]
        if running and not force:
            raise FailedPrecondition(
                f"cannot remove pod {name}: container {running[0]} is running",
                hint="stop the pod first, or force the removal",
            )
        self._each(
            record,
            lambda container: self._containers.remove(container, force=True, volumes=True),
            newest_first=True,
        )
        with self._locks.hold(f"pod-{record.id}"):
            self._engine.pods.remove(record.id)
            self._pods.table.delete(name)
            self._locks.forget(f"pod-{record.id}")
        self._networks.name_neighbours(record.asked.network.names)
        self._tell("remove", name, record.id, record.asked)

    def members(self, pod_id: str) -> Sequence[LocalRecord]:
        """Its containers, the oldest first."""
        return [record for record in reversed(self._records.list()) if record.pod_id == pod_id]

    def _each(
        self,
        pod: PodRecord,
        verb: Callable[[str], None],
        *,
        only: set[str] | None = None,
        newest_first: bool = False,
    ) -> None:
        failed: list[Error] = []
        members = self.members(pod.id)
        for member in reversed(members) if newest_first else members:
            if only is None or member.id in only:
                try:
                    verb(member.id)
                except NotFound:
                    continue  # it went meanwhile
                except Error as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def get(self, text: str) -> Pod:
        """Raises NotFound."""
        name, record = self._pods.find(text)
        return self._describe(name, record)

    def exists(self, text: str) -> bool:
        """Whether a name, an id or the beginning of one names a pod."""
        try:
            self._pods.find(text)
        except NotFound:
            return False
        return True

    def list(self) -> Sequence[Pod]:
        """Newest first."""
        found = [self._describe(name, record) for name, record in self._pods.table.list().items()]
        return sorted(found, key=lambda pod: pod.created_at_ns, reverse=True)

    def _describe(self, name: str, record: PodRecord) -> Pod:
        everything = ContainerQuery(all=True, origin="local")
        states = {one.id: one.state for one in self._containers.list(everything)}
        members = tuple(
            PodMember(member.id, member.name, states.get(member.id, "unknown"))
            for member in self.members(record.id)
        )
        found = self._engine.pods.list(PodFilter(id=record.id))
        ready = bool(found) and found[0].state == "ready"
        return Pod(
            record.id,
            name,
            choose_state([member.state for member in members], ready=ready),
            record.created_at_ns,
            members,
            tuple(use.name for use in found[0].options.networks) if found else (),
            found[0].ips if ready else (),
            found[0].options.port_mappings if found else record.asked.ports,
            record.asked.labels,
            record.asked,
        )


def choose_state(states: Sequence[str], *, ready: bool) -> PodState:
    """podman's word for a pod whose containers are in these states."""
    if not ready:
        return "Exited" if states else "Stopped"
    if not states or all(state == "created" for state in states):
        return "Created"
    if all(state == "running" for state in states):
        return "Running"
    if all(state == "paused" for state in states):
        return "Paused"
    if "running" in states or "paused" in states:
        return "Degraded"
    return "Exited"


def _check_share(asked: PodRequest) -> None:
    unknown = set(asked.share) - _SHAREABLE
    if unknown:
        raise InvalidArgument(f"share: {min(unknown)!r} cannot be shared", hint="ipc, net, pid and uts can")
    missing = _SHARED - set(asked.share)
    if missing and asked.share:
        raise InvalidArgument(
            f"share: a pod's containers always share {min(missing)}", hint="add it to the list"
        )
