r"""A sandbox: code that nobody has read, many calls, nothing that it does not need.

    with Sandbox("python:3.12", limits=Limits(memory_bytes=256 << 20)) as box:
        box.write("/work/main.py", "print(6 * 7)")
        box.run(["python3", "main.py"]).stdout        # "42\n"

Each has namespaces, a cgroup and ids of the host of its own; `plan` says what it may do.  It ends
with its context, and whatever a killed process leaves of its sandboxes goes with the next one's start.
"""

import io
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.execution import ExecTimeout
from rundlet.engine.names import is_alive, new_id, process_identity
from rundlet.engine.options import ExecOptions, PodFilter
from rundlet.engine.undo import Undo, attempt
from rundlet.errors import FailedPrecondition
from rundlet.kernel.failure import translating
from rundlet.local.commit import commit_files
from rundlet.local.copying import get_file, list_directory, pack_path, put_file, unpack_into
from rundlet.local.images import find_or_pull
from rundlet.local.machine import Machine
from rundlet.local.options import RunOptions
from rundlet.runtime.pause import build_program
from rundlet.sandbox.limits import Limits, check_limits
from rundlet.sandbox.plan import (
    OWNER_LABEL,
    USER_ID,
    WORK,
    Ids,
    SandboxOptions,
    choose_first_id,
    plan_container,
    plan_pod,
)

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
        return self.exit_code == 0


class Snapshot(Struct, frozen=True):
    """The files of a sandbox at one moment: an image, and what lay in its work directory as a tar."""

    options: SandboxOptions
    image_id: str
    work: bytes


TIMED_OUT = 124  # as timeout(1)
_IDS = (USER_ID, USER_ID)


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
        """`image` is pulled when it is not here.  Without `machine` the sandbox opens one for itself.

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
        self._own_machine = None if machine else Machine()
        self._machine = machine or self._own_machine or Machine()
        self._closing = threading.Lock()
        self._closed = False
        self.id = ""
        try:
            self._make(image if isinstance(image, Snapshot) else None)
        except BaseException:
            if self._own_machine:
                self._own_machine.close()
            raise

    @property
    def _engine(self) -> Engine:
        return self._machine.engine

    def _make(self, snapshot: Snapshot | None) -> None:
        engine = self._engine
        taken = remove_abandoned(engine)
        if snapshot is None:
            self.image_id = find_or_pull(engine, RunOptions(image=self.options.image)).id
        else:
            self.image_id = snapshot.image_id
        pod_id = new_id()
        first_id = choose_first_id(taken, int(pod_id[:8], 16))
        ids = Ids(pod_id, process_identity(os.getpid()), first_id)
        with Undo() as undo:
            undo.add(f"remove sandbox {pod_id[:12]}", engine.pods.remove, pod_id)
            engine.pods.run(plan_pod(self.options, ids), pod_id)
            pause = write_pause(self._machine.settings.places.root)
            self.id = engine.containers.create(pod_id, plan_container(self.options, self.image_id, pause))
            engine.containers.start(self.id)
            if snapshot is not None:
                self.unpack(WORK, io.BytesIO(snapshot.work))
            undo.keep()
        self._pod_id = pod_id

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
                    env=tuple((env or {}).items()), working_dir=cwd, user=user, ids=_IDS if not user else None
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
        put_file(self._engine, self.id, path, raw, mode=mode, uid=USER_ID, gid=USER_ID)

    def read(self, path: str, limit_bytes: int = _FILE_LIMIT_BYTES) -> bytes:
        """Raises NotFound, InvalidArgument for what is no file, ResourceExhausted for one over `limit_bytes`."""
        self._require_open()
        return get_file(self._engine, self.id, path, limit_bytes)

    def read_text(self, path: str) -> str:
        return self.read(path).decode(errors="replace")

    def list(self, path: str = WORK) -> list[str]:
        """Names in a directory, sorted, those of directories with a slash behind them."""
        self._require_open()
        return list_directory(self._engine, self.id, path)

    def pack(self, path: str) -> bytes:
        """A file or a tree as a tar."""
        self._require_open()
        out = io.BytesIO()
        pack_path(self._engine, self.id, path, out)
        return out.getvalue()

    def unpack(self, directory: str, archive: io.BytesIO) -> None:
        """A tar (plain, gzip or zstd) below a directory, as the sandbox's user."""
        self._require_open()
        unpack_into(self._engine, self.id, directory, archive, uid=USER_ID, gid=USER_ID)

    # -- snapshot and fork ------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Its files as they are; any number of sandboxes can be made from it.

        The image's part is kept as an image of the store when the sandbox is `writable`, the work directory's in memory.
        """
        self._require_open()
        image_id = self.image_id
        if self.options.writable:
            name = f"localhost/sandbox/{self.id[:12]}:{new_id()[:12]}"
            image_id = commit_files(self._machine.settings.places, self.id, self.image_id, name)
        work = io.BytesIO()
        pack_path(self._engine, self.id, WORK, work, contents=True)
        return Snapshot(self.options, image_id, work.getvalue())

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
        try:
            self._engine.pods.remove(self._pod_id)
        finally:
            if self._own_machine:
                self._own_machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def remove_abandoned(engine: Engine) -> set[int]:
    """Remove the sandboxes of processes that died; the first host ids of those that are there."""
    taken = set()
    for pod in engine.pods.list(PodFilter(origin="local")):
        owner = pod.options.labels.get(OWNER_LABEL)
        if owner is None:
            continue
        if is_alive(owner):
            taken.add(pod.options.security.namespaces.uid_mappings[0].host_id)
        else:
            attempt(f"remove the sandbox {pod.id[:12]} of a process that died", engine.pods.remove, pod.id)
    return taken


def write_pause(root: str) -> str:
    """The program that waits in every sandbox; the file that is there already, as a rule."""
    path = f"{root}/sandbox/pause"
    program = build_program(os.uname().machine)
    with translating(f"write {path}"):
        try:
            if os.stat(path).st_size == len(program):
                return path
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        fresh = f"{path}.{os.getpid()}.{threading.get_native_id()}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755), "wb") as file:
            os.fchmod(file.fileno(), 0o755)
            file.write(program)
        os.rename(fresh, path)
    return path
