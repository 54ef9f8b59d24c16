"""`criu swrk`: one process of criu's for one job, and what it asks of us on the way."""

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, Self

from rundlet.errors import FailedPrecondition, Unavailable
from rundlet.oci.criu import Images, Job
from rundlet.oci.criu_protocol import Answer, decode_answer, encode_consent, encode_request

_ANSWER_MAX_BYTES = 1 << 16
_ERRORS_TOLD = 3

Listener = Callable[[str, int, int], None]
"""Called with the name of a notification, a pid or 0, and a descriptor or -1."""


def check_features(criu: str, *names: str) -> None:
    """Unavailable unless criu and this kernel have these features (`mem_track`, `lazy_pages`)."""
    with _Worker(criu) as worker:
        worker.send(encode_request("feature-check", dict.fromkeys(names, True)))
        answer, _ = worker.receive()
    lacking = set(names) - answer.features
    if lacking:
        raise Unavailable(f"criu and this kernel do not have {', '.join(sorted(lacking))}")


def run_job(criu: str, job: Job, *, join_files: Sequence[str] = (), listener: Listener | None = None) -> int:
    """Carry a job out; the pid of the restored process, or 0.

    criu works in the group of `join_files`, so that what it restores is born there, and with
    `rst_sibling` as a child of ours.  Raises FailedPrecondition with criu's own last words.
    """
    opened: list[int] = []
    try:
        options = _open_files(job, opened)
        with _Worker(criu, opened, join_files) as worker:
            worker.send(encode_request(job.kind, options))
            return _converse(worker, job, listener)
    finally:
        for fd in opened:
            os.close(fd)


def _open_files(job: Job, opened: list[int]) -> dict[str, Any]:
    """The options with the descriptors that only now have numbers."""

    def open_file(source: str | int) -> int:
        fd = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        opened.append(fd)
        return fd

    return {
        "images_dir_fd": open_file(job.images.path),
        "work_dir_fd": open_file(job.images.work),
        **job.options,
        "inherit_fd": [(key, open_file(source)) for key, source in job.inherited.items()],
    }


def _converse(worker: "_Worker", job: Job, listener: Listener | None) -> int:
    while True:
        answer, fd = worker.receive()
        try:
            if not answer.success:
                raise FailedPrecondition(
                    f"criu {job.kind}: {read_last_errors(job.images, job.log) or answer.message or 'it failed'}",
                    hint=f"see {job.images.work}/{job.log}",
                )
            if answer.kind != "notify":
                return answer.pid
            _hear(answer, fd, job, listener)
        finally:
            if fd >= 0:
                os.close(fd)
        worker.send(encode_consent())


def _hear(answer: Answer, fd: int, job: Job, listener: Listener | None) -> None:
    if answer.script == "status-ready" and job.status_fd >= 0:
        os.write(job.status_fd, b"\0")  # the page server is there (`--lazy-pages`)
    if listener is not None:
        listener(answer.script, answer.pid, fd)


def read_last_errors(images: Images, log: str) -> str:
    """What went wrong and what that led to, by criu's log, on one line; empty when it does not say.

    A line of it is "(00.071) Error (criu/net.c:3071): Locking network failed"; the very last one
    says no more than that it FAILED.
    """
    try:
        with open(f"{images.work}/{log}", encoding="utf-8", errors="replace") as file:
            found = [line.partition("Error (")[2].partition("): ")[2].strip() for line in file]
    except OSError:
        return ""
    return "; ".join([text for text in found if text and "FAILED" not in text][-_ERRORS_TOLD:])


class _Worker:
    """The process and its socket; in a `with` block, at the end of which it has ended."""

    def __init__(self, criu: str, fds: Sequence[int] = (), join_files: Sequence[str] = ()) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [criu, "swrk", str(theirs.fileno())],
                stdout=subprocess.DEVNULL,  # what its helpers say would be output of the container
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *fds),
                preexec_fn=lambda: _join(join_files),  # noqa: PLW1509 - this process has no threads
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()

    def send(self, message: bytes) -> None:
        try:
            self._socket.send(message, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise FailedPrecondition("criu: it ended before it was done") from error

    def receive(self) -> tuple[Answer, int]:
        """The next answer, and the descriptor that came with it or -1."""
        raw, fds, _, _ = socket.recv_fds(self._socket, _ANSWER_MAX_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if not raw:
            raise FailedPrecondition("criu: it ended without an answer")
        return decode_answer(raw), fds[0] if fds else -1


def _join(files: Sequence[str]) -> None:
    for path in files:
        with open(path, "w", encoding="ascii") as file:
            file.write("0")
