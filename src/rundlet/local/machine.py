"""This machine's containers, images and what belongs to them, without a daemon.

    with Machine() as machine:
        name = machine.containers.run(RunOptions(image="redis:alpine", name="db"))
        machine.containers.stop("db")
        machine.containers.remove("db")

Thread-safe and synchronous.  Several machines, in one process or many, and rundletd may work on
the same places at once.  Closing one leaves everything running.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from rundlet.engine.engine import Engine
from rundlet.engine.journal import Entry
from rundlet.errors import FailedPrecondition
from rundlet.local.attendance import Attendance
from rundlet.local.containers import Containers
from rundlet.local.events import Filters, read_events
from rundlet.local.holdings import Holdings, count_users
from rundlet.local.locks import ContainerLocks
from rundlet.local.minding import Minding, check_health
from rundlet.local.networks import Networks
from rundlet.local.pods import POD_TABLE, PodRecords, Pods
from rundlet.local.records import CONTAINER_SCHEMA, Health, LocalRecords
from rundlet.local.recovery import recover
from rundlet.local.secrets import SECRET_TABLE, Secrets
from rundlet.local.settings import MachineSettings, read_machine_settings
from rundlet.local.table import table_schema
from rundlet.local.volumes import VOLUME_TABLE, Volumes
from rundlet.local.wish import Wishes, is_first_since_boot
from rundlet.rootless.enter import enter, must_enter

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = (*CONTAINER_SCHEMA, *map(table_schema, (VOLUME_TABLE, SECRET_TABLE, POD_TABLE)))


class Machine:
    """Opened on first use; `close` it, or use it as a context manager."""

    def __init__(self, settings: MachineSettings | None = None, *, attends: bool = False) -> None:
        """`attends`: whoever has it stays until what it starts has ended, as a rule (`local.attendance`).

        Raises InvalidArgument when the configuration file is wrong.
        """
        self.settings = settings or read_machine_settings()
        self._attends = attends

    def enter(self) -> None:
        """Go into namespaces where this ordinary user is root, as opening does; nothing happens for root.

        Raises PermissionDenied where the host has none for users, FailedPrecondition when such
        a process has threads already (`local.outside` needs no such process).
        """
        if must_enter():
            enter(self.settings.places.run_root)

    @cached_property
    def engine(self) -> Engine:
        self.enter()
        return Engine(self.settings.engine, schema=SCHEMA)

    def apply(self, work: Callable[Concatenate[Engine, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work` with the engine at hand, which may be in another process (`local.outside`)."""
        return work(self.engine, *args, **kwargs)

    @cached_property
    def _records(self) -> LocalRecords:
        return LocalRecords(self.engine.database)

    @cached_property
    def _locks(self) -> ContainerLocks:
        return ContainerLocks(f"{self.settings.places.run_root}/local/locks")

    @cached_property
    def networks(self) -> Networks:
        engine = self.settings.engine
        leases = f"{engine.cni_cache_dir}/networks"
        return Networks(self.engine, self._records, self._locks, engine.networks_dir, leases)

    @cached_property
    def volumes(self) -> Volumes:
        records = self._records
        directory = f"{self.settings.places.root}/volumes"
        return Volumes(
            self.engine.database,
            self.engine.images,
            directory,
            self._locks,
            lambda: count_users(records.list()),
            self.engine.journal,
        )

    @cached_property
    def secrets(self) -> Secrets:
        places = self.settings.places
        directories = (f"{places.root}/secrets", f"{places.run_root}/local/secrets")
        return Secrets(self.engine.database, *directories, self.engine.journal)

    @cached_property
    def _pod_records(self) -> PodRecords:
        return PodRecords(self.engine.database)

    @cached_property
    def pods(self) -> Pods:
        parts = (self._pod_records, self._records, self.containers, self.networks, self._locks)
        return Pods(self.engine, *parts, f"{self.settings.places.root}/local")

    @cached_property
    def _wishes(self) -> Wishes:
        return Wishes(self.engine, self.settings, keeps_lease=self._attends)

    @cached_property
    def _attendance(self) -> Attendance | None:
        return Attendance(self.engine, self._wishes) if self._attends else None

    @cached_property
    def containers(self) -> Containers:
        records = self._records
        pods = self._pod_records
        wishes = self._wishes
        containers = Containers(
            self.engine,
            records,
            self._locks,
            f"{self.settings.places.root}/local",
            Holdings(self.networks, self.volumes, self.secrets),
            lambda name: pods.find(name)[1].id,
            wishes,
            self._attendance,
        )
        recover(self.engine, records, containers)
        if is_first_since_boot(self.settings, records.list()):
            wishes.wish(look=True)
        return containers

    def events(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        follow: bool = False,
        filters: Filters = {},  # noqa: B006 - not changed
        is_over: Callable[[], bool] = lambda: False,
    ) -> Iterator[Entry]:
        """What happened since the boot, whichever process did it (`local.events`)."""
        limits = {"since_ns": since_ns, "until_ns": until_ns}
        return read_events(self.engine.journal, **limits, follow=follow, filters=filters, is_over=is_over)

    def check_health(self, name: str) -> Health:
        """Run a container's health check now, write down what came of it, and answer that.

        Raises FailedPrecondition when it has none, or does not run.
        """
        record = self.containers.find(name).require_local("check")
        if record.asked.health is None:
            raise FailedPrecondition(
                f"container {record.name} has no health check", hint="give it one with --health-cmd"
            )
        status = self.engine.containers.status(record.id)
        if status.state != "running":
            raise FailedPrecondition(f"cannot check container {record.name}: it is {status.state}")
        check = record.asked.health
        health = check_health(self.engine, self._records, record, check, status.started_at_ns)
        if health.status == "unhealthy" and check.on_failure != "none":
            self._wishes.wish(look=True)  # what was asked for then is the minder's to do
        return health

    def open_minding(self, on_done: Callable[[], None]) -> Minding:
        """For the process that does what nobody asks for (`rundlet.local.hand`)."""
        return Minding(self.engine, self._records, self.containers, on_done)

    def close(self) -> None:
        """Let go of files and threads."""
        if "containers" in self.__dict__:
            if self._attendance is not None:
                self._attendance.close()
            self._wishes.close()
        if "engine" in self.__dict__:
            self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
