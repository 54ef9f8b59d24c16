"""The way in: one client for this machine's containers, images and what belongs to them.

    with Client() as client:
        with client.run("redis:alpine", ports={6379: 0}, memory="256m") as container:
            container.wait_for_port(6379)
            container.exec(["redis-cli", "ping"]).stdout

Nothing runs in the background on its account; containers go on when it is closed.
"""

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, Unpack

from rundlet.api.container import Container, show_containers
from rundlet.api.images import Images
from rundlet.api.words import Command, RunWords, read_words
from rundlet.local.machine import Machine
from rundlet.local.options import RunOptions
from rundlet.local.outside import open_machine, usual_machine
from rundlet.local.settings import MachineSettings, Places
from rundlet.local.settings import read_machine_settings as read_settings
from rundlet.local.status import Container as Status
from rundlet.local.status import ContainerQuery


class Containers:
    """`client.containers`: look up, list, remove what has ended."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def get(self, name: str) -> Container:
        """By name, id or the beginning of one id; NotFound."""
        return Container(self._machine, self._machine.containers.get(name).id)

    def list(self, query: ContainerQuery = ContainerQuery(), /) -> "ContainerList":  # noqa: B008 - immutable
        """Newest first; only those that run unless the query says more."""
        return ContainerList(self._machine, list(self._machine.containers.list(query)))

    def prune(self) -> Sequence[str]:
        """Remove every container of this machine's that has ended; their ids."""
        ended = self._machine.containers.list(ContainerQuery(states=("exited",), origin="local"))
        removed = []
        for status in ended:
            if status.asked is not None:
                self._machine.containers.remove(status.id)
                removed.append(status.id)
        return removed

    def __iter__(self) -> Iterator[Container]:
        return iter(self.list())


class ContainerList(list[Container]):
    """Containers, and a table in notebooks."""

    def __init__(self, machine: Machine, found: "list[Status]") -> None:
        super().__init__(Container(machine, status.id) for status in found)
        self._found = found

    def _repr_html_(self) -> str:
        return show_containers(self._found)


class Client:
    """Opened on first use; thread-safe."""

    def __init__(
        self,
        *,
        root: str = "",
        run_root: str = "",
        settings: MachineSettings | None = None,
        machine: Machine | None = None,
    ) -> None:
        """`root` and `run_root` are the usual places unless given; `machine` is one that is there already.

        Raises InvalidArgument when the configuration file is wrong.
        """
        self.machine = machine or open_machine(settings or read_settings(_choose_places(root, run_root)))
        self.containers = Containers(self.machine)
        self.images = Images(self.machine)

    def run(self, image: str, command: Command | None = None, **words: Unpack[RunWords]) -> Container:
        """Make a container and start it; it runs when this returns.

        The image is pulled when it is not here.  Arguments are those of `rundlet.api.words`.
        """
        return self.run_options(read_words(image, command, words))

    def create(self, image: str, command: Command | None = None, **words: Unpack[RunWords]) -> Container:
        """Make a container that waits to be started."""
        return Container(self.machine, self.machine.containers.create(read_words(image, command, words)))

    def run_options(self, options: RunOptions) -> Container:
        """`run` for those who have the options as a value."""
        return Container(self.machine, self.machine.containers.run(options))

    def close(self) -> None:
        """Let go of the store; containers go on."""
        self.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _choose_places(root: str, run_root: str) -> Places | None:
    import os

    from rundlet.local.settings import find_places

    if not root and not run_root:
        return None
    usual = find_places(os.environ, os.geteuid())
    return usual._replace(root=root or usual.root, run_root=run_root or usual.run_root)


_guard = threading.Lock()
_usual: Client | None = None


def usual_client() -> Client:
    """The client that `rundlet.run` uses: made on first use, closed when the interpreter ends."""
    global _usual  # noqa: PLW0603 - one for the process, as the functions of the package have no object
    with _guard:
        if _usual is None:
            _usual = Client(machine=usual_machine())
        return _usual


def run(image: str, command: Command | None = None, **words: Unpack[RunWords]) -> Container:
    """`Client.run` with the usual client."""
    return usual_client().run(image, command, **words)
