"""A container as an object; what it answers is asked anew each time."""

import io
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from rundlet.api.display import show_table
from rundlet.api.ready import wait_for_health, wait_for_line, wait_for_port
from rundlet.api.words import Command, parse_port, split_command
from rundlet.engine.options import ExecOptions
from rundlet.errors import DeadlineExceeded, FailedPrecondition, NotFound
from rundlet.local.copying import get_file, list_directory, pack_path, put_file, unpack_into
from rundlet.local.logs import LogEntry
from rundlet.local.status import Container as Status

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


class ExecFailed(FailedPrecondition):
    """A program that was run with `check` ended with another code than 0; `result` is what it wrote."""

    def __init__(self, argv: tuple[str, ...], result: "ExecResult") -> None:
        last = result.stderr.strip().rpartition("\n")[2]
        super().__init__(f"{argv[0]!r} ended with {result.exit_code}" + (f": {last}" if last else ""))
        self.result = result


class ExecResult(Struct, frozen=True):
    """What a program came to; its output as text, and as the bytes that it was."""

    exit_code: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        """As text; bytes that are no UTF-8 become U+FFFD."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """As `stdout`."""
        return self.stderr_bytes.decode(errors="replace")

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0


class Container:
    """One container.  As a context manager it is killed and removed at the end."""

    def __init__(self, machine: "Machine", container_id: str) -> None:
        self._machine = machine
        self.id = container_id

    # -- what it is -------------------------------------------------------------

    @property
    def status(self) -> Status:
        """All that is known of it now; raises NotFound once it is removed."""
        return self._machine.containers.get(self.id)

    @property
    def name(self) -> str:
        """Its name now; it can be renamed."""
        return self.status.name

    @property
    def state(self) -> str:
        """created, running, paused, exited or unknown."""
        return self.status.state

    @property
    def exit_code(self) -> int | None:
        """None until it has ended."""
        return self.status.exit_code

    @property
    def ip(self) -> str:
        """Its first address, "" without one."""
        return next(iter(self.status.ips), "")

    @property
    def ports(self) -> dict[int | str, int]:
        """Host port by container port, those that are not TCP as "53/udp"."""
        return {
            port.container_port
            if port.protocol == "tcp"
            else f"{port.container_port}/{port.protocol}": port.host_port
            for port in self.status.ports
        }

    def port(self, container_port: int | str) -> int:
        """The port of the host that leads to `container_port`; NotFound when none does."""
        number, protocol = parse_port(container_port)
        key = number if protocol == "tcp" else f"{number}/{protocol}"
        found = self.ports.get(key)
        if found is None:
            raise NotFound(
                f"container {self.name} does not publish port {key}", hint=f"give run ports={{{key!r}: 0}}"
            )
        return found

    # -- life -------------------------------------------------------------------

    def start(self) -> None:
        """Start it, for the first time or again with the same files; one that runs goes on."""
        self._machine.containers.start(self.id)

    def stop(self, timeout_s: float | None = None) -> None:
        """SIGTERM, or the signal that its image names; SIGKILL after `timeout_s` (None: what it was made with, else 10)."""
        self._machine.containers.stop(self.id, timeout_s)

    def restart(self, timeout_s: float | None = None) -> None:
        """`stop` and `start`."""
        self._machine.containers.restart(self.id, timeout_s)

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send its first process a signal; FailedPrecondition when it does not run."""
        self._machine.containers.kill(self.id, signal)

    def remove(self, *, force: bool = False) -> None:
        """Remove it with its files; FailedPrecondition while it runs, unless `force`."""
        self._machine.containers.remove(self.id, force=force)

    def rename(self, name: str) -> None:
        """AlreadyExists when the name is taken, InvalidArgument when it cannot be one."""
        self._machine.containers.rename(self.id, name)

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit code, once it has ended; DeadlineExceeded when it has not after `timeout_s`."""
        code = self._machine.containers.wait(self.id, timeout_s)
        if code is None:
            raise DeadlineExceeded(f"container {self.name} still runs after {timeout_s:g} s")
        return code

    # -- work inside ------------------------------------------------------------

    def exec(
        self,
        command: Command,
        *,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "",
        user: str = "",
        timeout_s: float | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a program in it to its end.

        Raises NotFound when it does not run or has no such program, DeadlineExceeded when the program
        was killed after `timeout_s`, and with `check` ExecFailed for an exit code other than 0.
        """
        argv = split_command(command)
        options = ExecOptions(env=tuple((env or {}).items()), working_dir=workdir, user=user)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = self._machine.containers.exec(self.id, argv, options=options, stdin=data, timeout_s=timeout_s)
        result = ExecResult(done.exit_code, done.stdout, done.stderr)
        if check and not result.ok:
            raise ExecFailed(argv, result)
        return result

    def logs(
        self, *, follow: bool = False, tail: int = -1, since: datetime | None = None
    ) -> Iterator[LogEntry]:
        """What it has written, line by line; with `follow` what it writes until it ends."""
        since_ns = int(since.timestamp() * 1e9) if since else 0
        return self._machine.containers.logs(self.id, follow=follow, tail=tail, since_ns=since_ns)

    def output(self) -> str:
        """All that it has written so far, standard output and error as they came."""
        return "".join(entry.text + ("" if entry.partial else "\n") for entry in self.logs())

    # -- files ------------------------------------------------------------------

    def write(self, path: str, data: str | bytes, *, mode: int = 0o644) -> None:
        """Make or overwrite a file; directories are made when they are missing."""
        raw = data.encode() if isinstance(data, str) else data
        self._machine.apply(put_file, self.id, path, raw, mode=mode)

    def read(self, path: str) -> bytes:
        """Raises NotFound, and InvalidArgument for what is no file."""
        return self._machine.apply(get_file, self.id, path)

    def list(self, path: str = "/") -> "list[str]":
        """Names in a directory, those of directories with a slash behind them."""
        return self._machine.apply(list_directory, self.id, path)

    def get_archive(self, path: str) -> bytes:
        """A file or a tree as a tar."""
        out = io.BytesIO()
        self._machine.apply(pack_path, self.id, path, out)
        return out.getvalue()

    def put_archive(self, directory: str, archive: io.BufferedIOBase | bytes) -> None:
        """Unpack a tar (plain, gzip or zstd) below a directory."""
        source = io.BytesIO(archive) if isinstance(archive, bytes) else archive
        self._machine.apply(unpack_into, self.id, directory, source)

    # -- readiness --------------------------------------------------------------

    def wait_for_log(self, pattern: "str | re.Pattern[str]", timeout_s: float = 60.0) -> str:
        """The first line in which `pattern` is found.

        Raises DeadlineExceeded, and FailedPrecondition when it ends before, both with its last lines.
        """
        return wait_for_line(self._machine, self.id, re.compile(pattern), _deadline(timeout_s))

    def wait_for_port(self, port: int, timeout_s: float = 60.0) -> None:
        """Until a TCP connection to `port` inside the container is taken; raises as `wait_for_log` does."""
        wait_for_port(self._machine, self.id, port, _deadline(timeout_s))

    def wait_healthy(self, timeout_s: float = 60.0) -> None:
        """Until its health check says so; raises as `wait_for_log` does."""
        wait_for_health(self._machine, self.id, _deadline(timeout_s))

    # -- context and display ----------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.remove(force=True)
        except NotFound:
            pass  # somebody else removed it

    def __repr__(self) -> str:
        try:
            status = self.status
        except NotFound:
            return f"<Container {self.id[:12]} removed>"
        return f"<Container {status.short_id} {status.name} {status.image} {status.state}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return show_containers([self.status])


def show_containers(found: "list[Status]") -> str:
    """A table in HTML."""
    rows = [
        (
            each.short_id,
            each.name,
            each.image,
            " ".join(each.command),
            each.state,
            _show_time(each.created_at_ns),
        )
        for each in found
    ]
    return show_table(("id", "name", "image", "command", "state", "created"), rows)


def _show_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _deadline(timeout_s: float) -> float:
    return time.monotonic() + timeout_s
