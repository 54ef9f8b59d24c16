"""Looks at pods, and ways into them; none of them changes anything."""

from collections.abc import Sequence

from rundlet.engine.containerlooks import ContainerLooks
from rundlet.engine.describe import describe_pod
from rundlet.engine.options import ContainerFilter, PodFilter
from rundlet.engine.parts import Parts
from rundlet.engine.records import PodRecord, require_state
from rundlet.engine.stats import StatsReader
from rundlet.engine.status import PodStats, PodStatus
from rundlet.engine.streams import Dial, dial_pod
from rundlet.engine.validate import check_port
from rundlet.errors import NotFound
from rundlet.network.pod import Link


class PodLooks:
    """What can be seen of the pods of one engine."""

    def __init__(self, parts: Parts, containers: ContainerLooks, stats: StatsReader) -> None:
        self._parts = parts
        self._records = parts.pods
        self._looks = containers
        self._stats = stats

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
        containers = self._looks.list_stats(ContainerFilter(pod_id=record.id))
        return self._stats.read_pod(record, describe_pod(record), tuple(containers))
