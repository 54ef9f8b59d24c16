r"""A sandbox: code that nobody has read, many calls, nothing that it does not need.

    with Sandbox("python:3.12", limits=Limits(memory_bytes=256 << 20)) as box:
        box.write("/work/main.py", "print(6 * 7)")
        box.run(["python3", "main.py"]).stdout        # "42\n"

Each has namespaces, a cgroup and ids of the host of its own; `plan` says what it may do, and what of
that an ordinary user's cannot have.  It ends with its context.
"""

import io
import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.execution import ExecTimeout
from rundlet.engine.names import new_id
from rundlet.engine.options import ExecOptions
from rundlet.errors import FailedPrecondition
from rundlet.local.commit import commit_files
from rundlet.local.copying import get_file, list_directory, pack_path, put_file, unpack_into
from rundlet.local.machine import Machine
from rundlet.local.outside import usual_machine
from rundlet.local.settings import Places
from rundlet.sandbox.limits import Limits, check_limits, describe_unkept
from rundlet.sandbox.making import make_sandbox, pack_work
from rundlet.sandbox.plan import WORK, SandboxOptions

_FILE_LIMIT_BYTES = 1 << 30


class Call(Struct, frozen=True):
    """What one call came to.  `timed_out` with exit code 124: it ran too long, and everything was killed.

    `truncated` says that it wrote more than its limit, which was dropped.
    """

    stdout: str
    stderr: str
    exit_code: int
    timed_out: bool = False
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0


class Snapshot(Struct, frozen=True):
    """The files of a sandbox at one moment: an image, and what lay in its work directory as a tar."""

    options: SandboxOptions
    image_id: str
    work: bytes


TIMED_OUT = 124  # as timeout(1)
_log = logging.getLogger(__name__)


class Sandbox:
    """One sandbox, made at once; `close` it, or use it as a context manager.  Thread-safe: calls may overlap."""

    def __init__(
        self,
        image: str | Snapshot,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        network: str = "",
        writable: bool = False,
        runtime_handler: str = "",
        machine: Machine | None = None,
    ) -> None:
        """`image` is pulled when it is not here.  Without `machine` it is the usual one of this process.

        `unkept_limits` names those that nothing keeps here, which is logged as a warning, too.
        Raises InvalidArgument for wrong limits, NotFound for the image, PermissionDenied without the rights.
        """
        options = image.options if isinstance(image, Snapshot) else SandboxOptions(image=image)
        self.options = replace(
            options,
            limits=limits or options.limits,
            env=tuple(env.items()) if env is not None else options.env,
            network=network or options.network,
            writable=writable or options.writable,
            runtime_handler=runtime_handler or options.runtime_handler,
        )
        check_limits(self.options.limits)
        self._machine = machine or usual_machine()
        self._closing = threading.Lock()
        self._closed = False
        self.id = ""
        self._make(image if isinstance(image, Snapshot) else None)

    @property
    def _engine(self) -> Engine:
        return self._machine.engine

    def _make(self, snapshot: Snapshot | None) -> None:
        root = self._machine.settings.places.root
        files = (snapshot.image_id, snapshot.work) if snapshot else ()
        made = self._machine.apply(make_sandbox, root, self.options, *files)
        self.id, self.image_id = made.container_id, made.image_id
        self._pod_id, self._user_id = made.pod_id, made.user_id
        self.unkept_limits = made.unkept
        for name in made.unkept:
            _log.warning("%s", describe_unkept(name))

    # -- calls ------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        timeout_s: float | None = None,
    ) -> Call:
        """Run a program to its end and collect what it writes.

        `user` root may change the image's files in a `writable` sandbox, and has no other rights there.

        After `timeout_s` (None: the limit's) every process of the sandbox is killed; the sandbox and
        its files stay.  Raises NotFound when the program is not there, FailedPrecondition when the sandbox is closed.
        """
        self._require_open()
        limit = self.options.limits
        data = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            result = self._engine.containers.exec_sync(
                self.id,
                tuple(argv),
                limit.timeout_s if timeout_s is None else timeout_s,
                options=ExecOptions(
                    env=tuple((env or {}).items()),
                    working_dir=cwd,
                    user=user,
                    ids=None if user else (self._user_id, self._user_id),
                ),
                stdin=data,
                output_limit_bytes=limit.output_bytes + 1,
            )
        except ExecTimeout as late:
            self._engine.inside.kill_rest(self.id)
            return _make_call(late.stdout, late.stderr, TIMED_OUT, limit.output_bytes, timed_out=True)
        return _make_call(result.stdout, result.stderr, result.exit_code, limit.output_bytes)

    def kill(self) -> None:
        """SIGKILL everything that runs in it; the sandbox and its files stay."""
        self._require_open()
        self._engine.inside.kill_rest(self.id)

    # -- files ------------------------------------------------------------------

    def write(self, path: str, data: str | bytes, *, mode: int = 0o644) -> None:
        """Make or overwrite a file as the sandbox's user; directories are made when they are missing."""
        self._require_open()
        raw = data.encode() if isinstance(data, str) else data
        self._machine.apply(put_file, self.id, path, raw, mode=mode, uid=self._user_id, gid=self._user_id)

    def read(self, path: str, limit_bytes: int = _FILE_LIMIT_BYTES) -> bytes:
        """Raises NotFound, InvalidArgument for what is no file, ResourceExhausted for one over `limit_bytes`."""
        self._require_open()
        return self._machine.apply(get_file, self.id, path, limit_bytes)

    def read_text(self, path: str) -> str:
        """As `read`; bytes that are no UTF-8 become U+FFFD."""
        return self.read(path).decode(errors="replace")

    def list(self, path: str = WORK) -> list[str]:
        """Names in a directory, sorted, those of directories with a slash behind them."""
        self._require_open()
        return self._machine.apply(list_directory, self.id, path)

    def pack(self, path: str) -> bytes:
        """A file or a tree as a tar."""
        self._require_open()
        out = io.BytesIO()
        self._machine.apply(pack_path, self.id, path, out)
        return out.getvalue()

    def unpack(self, directory: str, archive: io.BytesIO) -> None:
        """A tar (plain, gzip or zstd) below a directory, as the sandbox's user."""
        self._require_open()
        self._machine.apply(unpack_into, self.id, directory, archive, uid=self._user_id, gid=self._user_id)

    # -- snapshot and fork ------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Its files as they are; any number of sandboxes can be made from it.

        The image's part is kept as an image of the store when the sandbox is `writable`, the work directory's in memory.
        """
        self._require_open()
        image_id = self.image_id
        if self.options.writable:
            places = self._machine.settings.places
            name = f"localhost/sandbox/{self.id[:12]}:{new_id()[:12]}"
            image_id = self._machine.apply(_commit, places, self.id, self.image_id, name)
        return Snapshot(self.options, image_id, self._machine.apply(pack_work, self.id))

    def fork(self) -> "Sandbox":
        """Another sandbox with the same files; processes stay behind."""
        return Sandbox(self.snapshot(), machine=self._machine)

    # -- end --------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed or not self.id:
            raise FailedPrecondition("the sandbox is closed")

    def close(self) -> None:
        """Kill and remove all of it; idempotent."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._engine.pods.remove(self._pod_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _commit(_: Engine, places: Places, container_id: str, image_id: str, name: str) -> str:
    """`local.commit.commit_files`, where the store can be written."""
    return commit_files(places, container_id, image_id, name)


def _make_call(
    stdout: bytes, stderr: bytes, exit_code: int, limit_bytes: int, *, timed_out: bool = False
) -> Call:
    return Call(
        stdout[:limit_bytes].decode(errors="replace"),
        stderr[:limit_bytes].decode(errors="replace"),
        exit_code,
        timed_out=timed_out,
        truncated=max(len(stdout), len(stderr)) > limit_bytes,
    )
