"""Work on containers that run: programs in them, streams, limits, pauses."""

from collections.abc import Sequence

from rundlet.engine.engine import Engine
from rundlet.engine.options import ExecOptions, Resources
from rundlet.engine.status import ExecResult
from rundlet.engine.streams import AttachStreams, ExecStreams
from rundlet.errors import FailedPrecondition
from rundlet.local.containerlooks import ContainerLooks, Found
from rundlet.local.records import LocalRecord


class ContainerWork(ContainerLooks):
    """What can be done with a container between its start and its end."""

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
        stdin: bytes | None = None,
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run a program in it to its end, and collect what it writes (at most 16 MiB of each output)."""
        container_id = self._tell(name, "exec").id
        return self._engine.containers.exec_sync(container_id, argv, timeout_s, options=options, stdin=stdin)

    def exec_stream(
        self,
        name: str,
        argv: Sequence[str],
        *,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
        stdin: bool = False,
        terminal: bool = False,
    ) -> ExecStreams:
        """Run a program in it with live streams; the caller closes them."""
        container_id = self._tell(name, "exec").id
        return self._engine.containers.exec_stream(
            container_id, argv, stdin=stdin, stderr=not terminal, terminal=terminal, options=options
        )

    def attach(
        self,
        name: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        lossless: bool = False,
    ) -> AttachStreams:
        """The container's own streams from now on; attached to before `start`, nothing is missed.

        `lossless`: the container waits for a caller that does not read, and the exit code comes at the end.
        """
        return self._engine.containers.attach(
            self._tell(name, "attach").id, stdin=stdin, stdout=stdout, stderr=stderr, lossless=lossless
        )

    def pause(self, name: str) -> None:
        """Freeze all of its processes; raises FailedPrecondition unless it runs."""
        self._engine.containers.pause(self.find(name).require_local("pause").id)
        self._tell(name, "pause")

    def unpause(self, name: str) -> None:
        """Let its processes go on; raises FailedPrecondition unless it is paused."""
        record = self.find(name).require_local("unpause")
        if not self._engine.containers.is_paused(record.id):
            raise FailedPrecondition(f"cannot unpause container {record.name}: it is not paused")
        self._engine.containers.unpause(record.id)
        self._tell(name, "unpause")

    def update(self, name: str, wanted: Resources) -> None:
        """Change limits of a container that has not ended; what is not mentioned stays."""
        self._engine.containers.update_resources(self.find(name).require_local("update").id, wanted)
        self._tell(name, "update")

    def _tell(self, name: str, action: str) -> Found:
        """Note what is done to a container; those that were made over CRI are told of by their engine alone."""
        found = self.find(name)
        if found.record is not None:
            tell_container(self._engine, found.record, action)
        return found


def tell_container(engine: Engine, record: LocalRecord, action: str) -> None:
    """An event of podman's kind."""
    asked = record.asked
    engine.journal.note(
        "container", action, record.id, record.name, asked.image, pod_id=record.pod_id, labels=asked.labels
    )
