"""Looks at containers; none of them changes anything."""

import time
from collections.abc import Sequence

from rundlet.engine.containerend import await_end
from rundlet.engine.creation import bundle_path
from rundlet.engine.describe import describe_container
from rundlet.engine.options import ContainerFilter
from rundlet.engine.parts import Parts
from rundlet.engine.process import read_config
from rundlet.engine.records import ContainerRecord, require_state
from rundlet.engine.stats import StatsReader
from rundlet.engine.status import ContainerStats, ContainerStatus
from rundlet.errors import Error, FailedPrecondition, NotFound
from rundlet.spec.runtime import RuntimeConfig
from rundlet.store.snapshots import Snapshot

# A program that fails at once has mostly ended this long after its start; who polls, and looks right after
# the start, learns it then instead of an interval later (4 s in Kubernetes' conformance suite).
_FIRST_MOMENT_S = 0.02


class ContainerLooks:
    """What can be seen of the containers of one engine."""

    def __init__(self, parts: Parts, stats: StatsReader) -> None:
        self._parts = parts
        self._records = parts.containers
        self._stats = stats

    def status(self, prefix: str) -> ContainerStatus:
        """Raises NotFound for an unknown container."""
        record = self._get(prefix)
        if record.state == "running" and self._ends_at_once(record):
            record = self._records.get(record.id)
        return describe_container(record)

    def _ends_at_once(self, record: ContainerRecord) -> bool:
        """Whether a container that has just been started ends in its first moment, which is waited for."""
        age_s = (time.time_ns() - record.started_at_ns) / 1e9
        if not 0 <= age_s < _FIRST_MOMENT_S:
            return False
        try:
            return await_end(self._parts, record, _FIRST_MOMENT_S - age_s)
        except (Error, OSError):
            return False  # a look needs no keeper

    def list(self, wanted: ContainerFilter = ContainerFilter()) -> Sequence[ContainerStatus]:  # noqa: B008
        """Newest first."""
        return [describe_container(record) for record in self._records.list(wanted)]

    def config(self, prefix: str) -> RuntimeConfig | None:
        """The config.json that it was made from; None once a reboot has taken it away."""
        try:
            return read_config(bundle_path(self._parts, self._records.resolve(prefix)))
        except FailedPrecondition:
            return None

    def stats(self, prefix: str) -> ContainerStats:
        """Raises NotFound for an unknown container."""
        record = self._get(prefix)
        return self._stats.read_container(record, describe_container(record))

    def list_stats(self, wanted: ContainerFilter = ContainerFilter()) -> Sequence[ContainerStats]:  # noqa: B008
        """Of the running ones only, as CRI has it."""
        found = []
        for record in self._records.list(wanted):
            if record.state != "running":
                continue
            try:
                found.append(self._stats.read_container(record, describe_container(record)))
            except NotFound:
                continue  # it ended between the two looks
        return found

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

    def _get(self, prefix: str) -> ContainerRecord:
        return self._records.get(self._records.resolve(prefix))
