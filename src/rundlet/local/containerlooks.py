"""Looks at containers of this machine, under every name; none of them changes anything."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerFilter, PodOptions
from rundlet.engine.status import ContainerStatus, PodStatus
from rundlet.errors import FailedPrecondition, NotFound
from rundlet.local.logs import LogEntry, read_log
from rundlet.local.records import LocalRecord, LocalRecords, LocalState
from rundlet.local.status import Container, ContainerQuery, describe


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


class ContainerLooks:
    """What can be seen of the containers of one machine."""

    def __init__(self, engine: Engine, records: LocalRecords) -> None:
        self._engine = engine
        self._records = records

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

    def wait(self, name: str, timeout_s: float | None = None) -> int | None:
        """The exit code once it has ended, None when it has not after `timeout_s`."""
        return self._engine.containers.wait(self.find(name).id, timeout_s)


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
