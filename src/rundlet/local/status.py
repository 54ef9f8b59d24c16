"""What looks at this machine answer: plain values, as they were at one moment.

Times are nanoseconds since the epoch, 0 for "not yet"; sizes are bytes.
"""

from typing import Literal

from msgspec import Struct

from rundlet.engine.options import PortMapping
from rundlet.engine.status import ContainerStatus
from rundlet.local.health import begin
from rundlet.local.options import RunOptions
from rundlet.local.records import Health, LocalRecord, LocalState

State = Literal["created", "running", "paused", "exited", "unknown"]


class Container(Struct, frozen=True):
    """One container, made here or over CRI.

    `name` of one that was made over CRI is "POD/CONTAINER", its `asked` is None.
    `exit_code` is None until it has ended.  `ips` are its pod's.
    """

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    state: State
    created_at_ns: int
    started_at_ns: int
    finished_at_ns: int
    exit_code: int | None
    reason: str
    message: str
    pid: int
    pod_id: str
    pod_name: str
    own_pod: bool
    ips: tuple[str, ...]
    ports: tuple[PortMapping, ...]
    labels: dict[str, str]
    log_path: str
    restarts: int
    health: Health
    origin: Literal["cri", "local"]
    status: ContainerStatus
    asked: RunOptions | None = None
    restart_at_ns: int = 0

    @property
    def short_id(self) -> str:
        """The 12 characters that people are shown."""
        return self.id[:12]


class ContainerQuery(Struct, frozen=True):
    """All given conditions must hold; `all` includes those that do not run."""

    all: bool = False
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    states: tuple[State, ...] = ()
    pod: str = ""
    image: str = ""
    origin: Literal["", "cri", "local"] = ""


def describe(
    status: ContainerStatus,
    record: LocalRecord | None,
    pod_name: str,
    ports: tuple[PortMapping, ...],
    ips: tuple[str, ...],
) -> Container:
    """The engine's view and ours of one container as one.  Pure."""
    options = status.options
    state = record.state if record else LocalState()
    asked = record.asked if record else None
    return Container(
        id=status.id,
        name=record.name if record else f"{pod_name}/{options.name}",
        image=options.user_image or options.image,
        image_id=status.image_id,
        command=(*options.command, *options.args),
        state=status.state,
        created_at_ns=record.created_at_ns if record else status.created_at_ns,
        started_at_ns=status.started_at_ns,
        finished_at_ns=status.finished_at_ns,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        pid=status.pid,
        pod_id=status.pod_id,
        pod_name=pod_name,
        own_pod=record.own_pod if record else False,
        ips=ips,
        ports=ports,
        labels=asked.labels if asked else options.labels,
        log_path=status.log_path,
        restarts=state.restarts,
        health=_describe_health(status, asked, state.health),
        origin="local" if record else "cri",
        status=status,
        asked=asked,
        restart_at_ns=state.restart_at_ns,
    )


def _describe_health(status: ContainerStatus, asked: RunOptions | None, known: Health) -> Health:
    """That of this life, from its first moment on: who writes it down comes a little later."""
    if asked is None or asked.health is None or status.state != "running":
        return known
    return begin(known, status.started_at_ns)
