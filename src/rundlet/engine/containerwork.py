"""Work on containers that run: programs in them, streams, limits, pauses, checkpoints."""

from collections.abc import Sequence

from rundlet.engine.containerlimits import change_limits
from rundlet.engine.containerlooks import ContainerLooks
from rundlet.engine.execchange import plan_change
from rundlet.engine.execution import run_exec
from rundlet.engine.limits import check_resources
from rundlet.engine.options import ExecOptions, Resources
from rundlet.engine.records import ContainerRecord, require_state
from rundlet.engine.status import ExecResult
from rundlet.engine.streams import AttachStreams, ExecStreams, start_attach, start_exec
from rundlet.engine.validate import check_streams
from rundlet.errors import InvalidArgument, NotFound
from rundlet.step import step
from rundlet.trace.span import Span


class ContainerWork(ContainerLooks):
    """What can be done with a container between its start and its end."""

    def exec_sync(
        self,
        prefix: str,
        argv: Sequence[str],
        timeout_s: float | None = None,
        *,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
        stdin: bytes | None = None,
        output_limit_bytes: int = 0,
    ) -> ExecResult:
        """Run `argv` in the container, give it `stdin`, and collect what it writes.

        Raises NotFound when the container is not running or has no such program,
        DeadlineExceeded after `timeout_s` (None or 0: no limit); the process is gone then.
        """
        record = self._find_running(prefix, argv)
        with self._operation("exec", record.id, record.options.name):
            change = plan_change(self._parts, record, options)
            return run_exec(
                self._parts,
                record,
                argv,
                timeout_s or None,
                change=change,
                stdin=stdin,
                output_limit_bytes=output_limit_bytes,
            )

    def exec_stream(
        self,
        prefix: str,
        argv: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        terminal: bool = False,
        options: ExecOptions = ExecOptions(),  # noqa: B008 - immutable
    ) -> ExecStreams:
        """Run `argv` in the container with live streams; the caller closes them.

        Raises NotFound when the container is not running or has no such program.
        """
        record = self._find_running(prefix, argv)
        with self._operation("exec", record.id, record.options.name), step("container.exec", record.id):
            return start_exec(
                self._parts,
                record,
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                terminal=terminal,
                change=plan_change(self._parts, record, options),
            )

    def attach(
        self,
        prefix: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        lossless: bool = False,
    ) -> AttachStreams:
        """The container's own streams from now on; the caller closes them.

        `lossless`: the container waits for a caller that does not read, and the exit code comes at the end;
        attached before the start, it misses nothing at all.
        Raises FailedPrecondition when the container has ended.
        """
        record = self._get(prefix)
        return start_attach(self._parts, record, stdin=stdin, stdout=stdout, stderr=stderr, lossless=lossless)

    def check_exec(
        self, prefix: str, argv: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, terminal: bool
    ) -> str:
        """The full id, when `exec_stream` could begin now; raises what that would."""
        check_streams(stdin=stdin, stdout=stdout, stderr=stderr, terminal=terminal)
        return self._find_running(prefix, argv).id

    def check_attach(self, prefix: str, *, stdin: bool, stdout: bool, stderr: bool, terminal: bool) -> str:
        """The full id, when `attach` could begin now; raises what that would."""
        check_streams(stdin=stdin, stdout=stdout, stderr=stderr, terminal=terminal)
        record = self._get(prefix)
        require_state(record, "created", "running", action="attach to")
        return record.id

    def _find_running(self, prefix: str, argv: Sequence[str]) -> ContainerRecord:
        if not argv:
            raise InvalidArgument("cmd: must name a program")
        record = self._get(prefix)
        if record.state != "running":
            raise NotFound(f"container {record.id} is not running: it is {record.state}")
        return record

    def pause(self, prefix: str) -> None:
        """Freeze all of its processes; raises FailedPrecondition unless it runs."""
        record = self._get(prefix)
        require_state(record, "running", action="pause")
        self._parts.group(record.facts.cgroups_path).freeze()

    def unpause(self, prefix: str) -> None:
        """Let its processes go on; nothing happens to one that is not paused."""
        record = self._get(prefix)
        if record.state == "running":
            self._parts.group(record.facts.cgroups_path).thaw()

    def reopen_log(self, prefix: str) -> None:
        """Go on in a new log file after a rotation; raises FailedPrecondition when not running."""
        record = self._get(prefix)
        require_state(record, "running", action="reopen the log of")
        self._parts.keeper.reopen_log(record.id)

    def checkpoint(self, prefix: str, location: str, timeout_s: float = 0) -> None:
        """Write the memory and files of a running container to the file `location`; it runs on.

        Raises Unimplemented where there is no criu, FailedPrecondition when it is not running or criu fails.
        """
        container_id = self._records.resolve(prefix)
        with self._operation("checkpoint", container_id), self._parts.locks.hold(container_id):
            record = self._records.get(container_id)
            require_state(record, "running", action="make a checkpoint of")
            from rundlet.engine.checkpoint import take_checkpoint  # slow, and seldom wanted

            take_checkpoint(self._parts, self._parts.pods.get(record.pod_id), record, location, timeout_s)

    def update_resources(self, prefix: str, wanted: Resources) -> None:
        """Change limits of a container that has not ended; on failure the old ones are put back."""
        check_resources(wanted, "resources")
        container_id = self._records.resolve(prefix)
        with self._parts.locks.hold(container_id):
            record = self._records.get(container_id)
            require_state(record, "created", "running", action="update")
            merged = change_limits(self._parts, record, wanted)
            self._records.save_resources(container_id, merged)

    def _operation(self, verb: str, container_id: str, label: str = "") -> Span:
        return self._parts.tracer.operation(verb, "container", container_id, label)
