"""Making containers, or telling what would be made.

create   image → names, volumes, networks looked up → plan → name reserved → pod → container → published
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from rundlet.archive.tree import remove_tree
from rundlet.engine.engine import Engine
from rundlet.engine.explain import Section
from rundlet.engine.names import new_id, process_identity
from rundlet.engine.undo import Undo
from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.local.containerwork import ContainerWork
from rundlet.local.health import choose_check
from rundlet.local.holdings import Holdings
from rundlet.local.images import find_or_pull
from rundlet.local.locks import ContainerLocks
from rundlet.local.names import check_name, invent_name
from rundlet.local.options import RunOptions
from rundlet.local.plan import LocalPlan, joins_other, plan_run
from rundlet.local.ports import choose_ports
from rundlet.local.records import LocalRecord, LocalRecords
from rundlet.local.settings import Places
from rundlet.local.userids import choose_ids, read_host_ids, wants_ids
from rundlet.rootless.subid import Range
from rundlet.step import step

_NAME_TRIES = 8
_IDS_LOCK = "ids"


class ContainerCreation(ContainerWork):
    """How the containers of one machine come to be, and what a half-made one leaves."""

    def __init__(
        self,
        engine: Engine,
        records: LocalRecords,
        locks: ContainerLocks,
        directory: str,
        holdings: Holdings,
        find_pod: Callable[[str], str],
    ) -> None:
        """`directory` has a directory for each container; `find_pod` gives the id of a pod by its name."""
        super().__init__(engine, records)
        self._holdings = holdings
        self._find_pod = find_pod
        self._locks = locks
        self._directory = directory

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
        with self._choosing_ids(asked) as asked:
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

        with self._choosing_ids(asked) as asked:
            return explain_run(
                self._engine,
                self._holdings,
                asked,
                pod_id,
                lambda name: self.find(name).require_local("share volumes of"),
                places,
            )

    def _join(self, asked: RunOptions) -> tuple[RunOptions, str]:
        """The options with the joined container's full id in place of its name, and the pod to go into ("": its own)."""
        if asked.name:
            check_name(asked.name, "container")
        if asked.entrypoint == () and not asked.command:
            raise InvalidArgument(
                "no command: an empty entrypoint takes the image's command away too",
                hint="name one behind IMAGE",
            )
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

    @contextmanager
    def _choosing_ids(self, asked: RunOptions) -> Iterator[RunOptions]:
        """With the ids of its user namespace; nobody else chooses before the block has written them down."""
        if not wants_ids(asked):
            yield asked
            return
        with self._locks.hold(_IDS_LOCK):
            records = (record.asked.namespaces.uid_maps for record in self._records.list())
            pods = (pod.options.security.namespaces.uid_mappings for pod in self._engine.pods.list())
            taken = [Range(first, count) for rows in records for _, first, count in rows]
            taken += [Range(row.host_id, row.length) for rows in pods for row in rows]
            yield choose_ids(asked, read_host_ids(), taken)

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

    def _make_ready(self, pod_id: str) -> None:
        """A pod whose last container has ended may have been stopped."""
        if self._engine.pods.status(pod_id).state != "ready":
            self._engine.pods.revive(pod_id)

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
