"""ExecSync: a further process in a container, its output collected.

The engine makes the pipes and hands their write ends to the keeper, so no byte of output
passes through the keeper.  Each stream is kept up to a limit and then read and dropped,
or the process would block or the engine's memory be the container's (CVE-2022-1708).
"""

import os
import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Thread

from rundlet.engine.creation import bundle_path
from rundlet.engine.parts import Parts
from rundlet.engine.process import choose_exec_plan
from rundlet.engine.records import ContainerRecord
from rundlet.engine.status import ExecResult
from rundlet.engine.undo import attempt
from rundlet.errors import DeadlineExceeded
from rundlet.keeper.client import ExecHandle
from rundlet.kernel.failure import translating
from rundlet.step import step
from rundlet.trace.span import waits

_CHUNK_BYTES = 1 << 16
_KILL_TIMEOUT_S = 10.0
# A process left behind in the background may hold the pipe for ever; what the ended one wrote
# is in the pipe already.
_DRAIN_S = 0.5


class Collector:
    """Reads some descriptors to their ends in a thread; keeps `limit_bytes` of each."""

    def __init__(self, fds: Sequence[int], limit_bytes: int) -> None:
        self._buffers = {fd: bytearray() for fd in fds}
        self._limit_bytes = limit_bytes
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        self._thread = Thread(target=self._run, name="exec-output", daemon=True)
        self._thread.start()

    def finish(self, patience_s: float) -> list[bytes]:
        """What was read, in the order of the descriptors, once all ended or `patience_s` is over."""
        self._thread.join(patience_s)
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)
        return [bytes(buffer) for buffer in self._buffers.values()]

    def _run(self) -> None:
        with selectors.PollSelector() as selector:
            for fd in self._buffers:
                selector.register(fd, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:
                for key, _ in selector.select():
                    if key.fd == self._wake_read:
                        return
                    if not self._read(key.fd):
                        selector.unregister(key.fd)

    def _read(self, fd: int) -> bool:
        data = os.read(fd, _CHUNK_BYTES)
        buffer = self._buffers[fd]
        buffer += data[: self._limit_bytes - len(buffer)]
        return bool(data)


def run_exec(
    parts: Parts, record: ContainerRecord, argv: Sequence[str], timeout_s: float | None
) -> ExecResult:
    """Run `argv` in a running container and wait for it."""
    plan = choose_exec_plan(parts, record, bundle_path(parts, record.id), argv, terminal=False)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with ExitStack() as cleanup:
        out_read, out_write = _make_pipe(cleanup)
        err_read, err_write = _make_pipe(cleanup)
        with step("container.exec", record.id):
            handle = parts.keeper.exec(
                record.id, plan, stdout_fd=out_write.take(), stderr_fd=err_write.take()
            )
        cleanup.callback(handle.close)
        out_write.close()
        err_write.close()
        collector = Collector((out_read.take(), err_read.take()), parts.settings.exec_output_limit_bytes)
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            with step("container.await-exec", record.id):
                waits("process", argv[0], handle.pid, left_s)
                end = handle.wait(left_s)
            if end is None:
                _kill_exec(handle)
        finally:
            stdout, stderr = collector.finish(_DRAIN_S)
    if end is None:
        raise DeadlineExceeded(
            f"{argv[0]!r} in container {record.id} was killed: it ran over {timeout_s:g} s"
        )
    return ExecResult(stdout, stderr, end.exit_code)


class _Fd:
    """A descriptor that is closed once, by hand or at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def take(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _make_pipe(cleanup: ExitStack) -> tuple[_Fd, _Fd]:
    with translating("make a pipe"):
        ends = tuple(map(_Fd, os.pipe2(os.O_CLOEXEC)))
    for end in ends:
        cleanup.callback(end.close)
    return ends[0], ends[1]


def _kill_exec(handle: ExecHandle) -> None:
    """Kill the process with its group, and see it gone."""
    attempt(f"kill exec {handle.exec_id}", handle.signal, int(signal.SIGKILL))
    handle.wait(_KILL_TIMEOUT_S)
