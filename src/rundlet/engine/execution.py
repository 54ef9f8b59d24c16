"""ExecSync: a further process in a container, its output collected.

The engine makes the pipes and hands their write ends to the keeper, so no byte of output
passes through the keeper.  Each stream is kept up to a limit and then read and dropped,
or the process would block or the engine's memory be the container's (CVE-2022-1708).
"""

import math
import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack

from rundlet.engine.creation import bundle_path
from rundlet.engine.execchange import Change
from rundlet.engine.parts import Parts
from rundlet.engine.process import choose_exec_plan
from rundlet.engine.records import ContainerRecord
from rundlet.engine.status import ExecResult
from rundlet.engine.undo import attempt
from rundlet.errors import DeadlineExceeded
from rundlet.keeper.handles import ExecHandle
from rundlet.keeper.protocol import ExitRecord
from rundlet.kernel.failure import translating
from rundlet.step import step
from rundlet.trace.span import waits

_CHUNK_BYTES = 1 << 16
_KILL_TIMEOUT_S = 10.0
# A process left behind in the background may hold the pipe for ever; what the ended one wrote
# is in the pipe already.
_DRAIN_S = 0.5
_LOOK_S = 0.05


class Collector:
    """Reads some descriptors while something else is waited for; keeps `limit_bytes` of each."""

    def __init__(self, fds: Sequence[int], limit_bytes: int) -> None:
        self._buffers = {fd: bytearray() for fd in fds}
        self._limit_bytes = limit_bytes
        self._poll = select.poll()
        self._open = set(fds)
        self._input, self._left = _NO_FD, memoryview(b"")
        for fd in fds:
            self._poll.register(fd, select.POLLIN)

    def feed(self, end: "_Fd", data: bytes) -> None:
        """Write `data` into a pipe meanwhile, and close it then or when nobody reads it any more."""
        os.set_blocking(end.take(), False)
        self._input, self._left = end, memoryview(data)
        self._poll.register(end.take(), select.POLLOUT)

    def read_until(self, fd: int, deadline: float | None) -> None:
        """Read until there is something to read from `fd`, or `deadline` (time.monotonic) is over."""
        self._poll.register(fd, select.POLLIN)
        while ready := self._await(deadline):
            if fd in ready:
                break
        self._poll.unregister(fd)

    def finish(self, patience_s: float) -> list[bytes]:
        """What was read, in the order of the descriptors, once all ended or `patience_s` is over."""
        deadline = time.monotonic() + patience_s
        while self._open and self._await(deadline):
            pass
        return [bytes(buffer) for buffer in self._buffers.values()]

    def _await(self, deadline: float | None) -> list[int]:
        """Read what is there to be read; the descriptors that were ready, none when the time is over."""
        left_s = _left_s(deadline)
        ready = [fd for fd, _ in self._poll.poll(None if left_s is None else math.ceil(left_s * 1000))]
        if self._input.take() in ready:
            self._write()
        for fd in self._open.intersection(ready):
            self._read(fd)
        return ready

    def _write(self) -> None:
        try:
            self._left = self._left[os.write(self._input.take(), self._left) :]
        except BrokenPipeError:
            self._left = self._left[:0]
        if not self._left:
            self._poll.unregister(self._input.take())
            self._input.close()

    def _read(self, fd: int) -> None:
        data = os.read(fd, _CHUNK_BYTES)
        buffer = self._buffers[fd]
        buffer += data[: self._limit_bytes - len(buffer)]
        if not data:
            self._poll.unregister(fd)
            self._open.discard(fd)


class ExecTimeout(DeadlineExceeded):
    """A further process was killed; `stdout` and `stderr` are what it had written."""

    def __init__(self, message: str, stdout: bytes, stderr: bytes) -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr


def run_exec(
    parts: Parts,
    record: ContainerRecord,
    argv: Sequence[str],
    timeout_s: float | None,
    *,
    change: Change | None = None,
    stdin: bytes | None = None,
    output_limit_bytes: int = 0,
) -> ExecResult:
    """Run `argv` in a running container and wait for it; it reads `stdin`, if any.

    Of each output `output_limit_bytes` are kept (0: as many as the settings say).
    """
    plan = choose_exec_plan(parts, record, bundle_path(parts, record.id), argv, terminal=False, change=change)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with ExitStack() as cleanup:
        out_read, out_write = _make_pipe(cleanup)
        err_read, err_write = _make_pipe(cleanup)
        in_read, in_write = (_NO_FD, _NO_FD) if stdin is None else _make_pipe(cleanup)
        with step("container.exec", record.id):
            handle = parts.keeper.exec(
                record.id,
                plan,
                stdin_fd=in_read.take(),
                stdout_fd=out_write.take(),
                stderr_fd=err_write.take(),
            )
        cleanup.callback(handle.close)
        out_write.close()
        err_write.close()
        in_read.close()
        limit_bytes = output_limit_bytes or parts.settings.exec_output_limit_bytes
        collector = Collector((out_read.take(), err_read.take()), limit_bytes)
        if stdin is not None:
            collector.feed(in_write, stdin)
        try:
            with step("container.await-exec", record.id):
                waits("process", argv[0], handle.pid, _left_s(deadline))
                end = _await_end(handle, collector, deadline)
            if end is None:
                _kill_exec(handle)
        finally:
            stdout, stderr = collector.finish(_DRAIN_S)
    if end is None:
        raise ExecTimeout(
            f"{argv[0]!r} in container {record.id} was killed: it ran over {timeout_s:g} s", stdout, stderr
        )
    return ExecResult(stdout, stderr, end.exit_code)


def _await_end(handle: ExecHandle, collector: Collector, deadline: float | None) -> ExitRecord | None:
    """How the process ended, its output read meanwhile; None when it has not by `deadline`."""
    while True:
        collector.read_until(handle.fileno(), deadline)
        left_s = _left_s(deadline)
        # A supervisor that has died leaves its successor to be asked, and output to be read meanwhile.
        end = handle.wait(_LOOK_S if left_s is None else min(left_s, _LOOK_S))
        if end is not None or left_s == 0:
            return end


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


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


_NO_FD = _Fd(-1)


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
