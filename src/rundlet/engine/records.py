"""What the engine knows of pods and containers: two tables in the store's database.

    pods        id, (namespace, name, uid, attempt) unique, state, owner, created_at_ns, options, facts
    containers  id, pod_id → pods, (pod_id, name, attempt) unique, state, owner, …, options, facts

`options` is what the caller asked, `facts` what became of it, both as JSON of the structs.
`owner` names the process that is making or removing the object, so that a later engine can
tell a half-made one from one that is being made right now.

States and who may follow whom:

    pod         creating → ready → notready
    container   creating → created → running → exited
                           created, running → unknown → exited
    revived     pod notready → ready, container exited → created

A row in state "creating" reserves the name and is seen by nobody else.  `engine.recordtables` reads and
writes them.
"""

from typing import Literal

from msgspec import Struct

from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.status import UserStatus
from rundlet.errors import FailedPrecondition

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS pods (
        id            TEXT PRIMARY KEY,
        namespace     TEXT NOT NULL,
        name          TEXT NOT NULL,
        uid           TEXT NOT NULL,
        attempt       INTEGER NOT NULL,
        state         TEXT NOT NULL,
        owner         TEXT NOT NULL,
        created_at_ns INTEGER NOT NULL,
        options       TEXT NOT NULL,
        facts         TEXT NOT NULL,
        UNIQUE (namespace, name, uid, attempt)
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS containers (
        id             TEXT PRIMARY KEY,
        pod_id         TEXT NOT NULL REFERENCES pods (id),
        name           TEXT NOT NULL,
        attempt        INTEGER NOT NULL,
        state          TEXT NOT NULL,
        owner          TEXT NOT NULL,
        created_at_ns  INTEGER NOT NULL,
        started_at_ns  INTEGER NOT NULL DEFAULT 0,
        finished_at_ns INTEGER NOT NULL DEFAULT 0,
        exit_code      INTEGER,
        reason         TEXT NOT NULL DEFAULT '',
        message        TEXT NOT NULL DEFAULT '',
        options        TEXT NOT NULL,
        facts          TEXT NOT NULL,
        UNIQUE (pod_id, name, attempt)
    ) STRICT
    """,
)


PodState = Literal["creating", "ready", "notready"]
ContainerState = Literal["creating", "created", "running", "exited", "unknown"]


class PodFacts(Struct, frozen=True):
    """`namespaces` maps net, ipc, uts, pid to pinned files; `init_pid` is 0 without one.

    `selinux_label` is that of the pod's processes, empty where the kernel has no SELinux.
    """

    runtime_handler: str = ""
    hostname: str = ""
    cgroup_parent: str = ""
    boot_id: str = ""
    namespaces: dict[str, str] = {}
    init_pid: int = 0
    ips: tuple[str, ...] = ()
    selinux_label: str = ""


class PodRecord(Struct, frozen=True):
    id: str
    options: PodOptions
    state: PodState
    owner: str
    created_at_ns: int
    facts: PodFacts = PodFacts()


class ContainerFacts(Struct, frozen=True):
    """`log_path` is absolute, or empty when nothing is logged; `volumes` has images by container path; no `runtime_handler` means the default one.

    `restore` is the directory of the checkpoint that it begins with, until it is started;
    `lives` counts how often it was made ready to start.
    """

    image_id: str = ""
    image_ref: str = ""
    log_path: str = ""
    stop_signal: str = "SIGTERM"
    cgroups_path: str = ""
    boot_id: str = ""
    pid: int = 0
    volumes: dict[str, str] = {}
    runtime_handler: str = ""
    runtime_type: Literal["builtin", "oci", "bwrap"] = "builtin"
    own_sandbox: bool = False
    user: UserStatus = UserStatus(0, 0, ())
    restore: str = ""
    lives: int = 1


class ContainerRecord(Struct, frozen=True):
    id: str
    pod_id: str
    options: ContainerOptions
    state: ContainerState
    owner: str
    created_at_ns: int
    started_at_ns: int = 0
    finished_at_ns: int = 0
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    facts: ContainerFacts = ContainerFacts()


class Exit(Struct, frozen=True):
    """How a container ended; `exit_code` is 128 + signal when killed, 255 when unknown."""

    exit_code: int
    finished_at_ns: int
    reason: str
    message: str = ""


def require_state(record: ContainerRecord | PodRecord, *states: str, action: str) -> None:
    """Raises FailedPrecondition "cannot start container …: it is running"."""
    if record.state not in states:
        kind = "pod" if isinstance(record, PodRecord) else "container"
        raise FailedPrecondition(f"cannot {action} {kind} {record.id[:13]}: it is {record.state}")
