"""This machine's containers, images and what belongs to them, without a daemon.

    with Machine() as machine:
        name = machine.containers.run(RunOptions(image="redis:alpine", name="db"))
        machine.containers.stop("db")
        machine.containers.remove("db")

Thread-safe and synchronous.  Several machines, in one process or many, and rundletd may work on
the same places at once.  Closing one leaves everything running.
"""

from functools import cached_property
from types import TracebackType
from typing import Self

from rundlet.engine.engine import Engine
from rundlet.local.containers import Containers
from rundlet.local.locks import ContainerLocks
from rundlet.local.records import CONTAINER_SCHEMA, LocalRecords
from rundlet.local.recovery import recover
from rundlet.local.settings import MachineSettings, read_machine_settings

SCHEMA = (*CONTAINER_SCHEMA,)


class Machine:
    """Opened on first use; `close` it, or use it as a context manager."""

    def __init__(self, settings: MachineSettings | None = None) -> None:
        """Raises InvalidArgument when the configuration file is wrong."""
        self.settings = settings or read_machine_settings()

    @cached_property
    def engine(self) -> Engine:
        """Raises PermissionDenied without the rights that it needs."""
        return Engine(self.settings.engine, schema=SCHEMA)

    @cached_property
    def containers(self) -> Containers:
        places = self.settings.places
        records = LocalRecords(self.engine.database)
        containers = Containers(
            self.engine, records, ContainerLocks(f"{places.run_root}/local/locks"), f"{places.root}/local"
        )
        recover(self.engine, records, containers)
        return containers

    def close(self) -> None:
        """Let go of files and threads."""
        if "engine" in self.__dict__:
            self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
