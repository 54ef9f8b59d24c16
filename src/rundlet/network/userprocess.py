"""A process of an ordinary user's that is somebody's network, slirp4netns or pasta.

    <directory>/<name>.json    {"pid": …, "start_time": …}
                      .log     what it has said
                      .sock    slirp4netns's API

It outlives the one that started it.
"""

import fcntl
import json
import os
import select
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from rundlet.errors import Unavailable
from rundlet.network import slirp

_READY_TIMEOUT_S: Final = 10.0
_READY_FD, _DIRECTORY_FD = 3, 4  # in the program
_OUT_OF_THE_WAY: Final = 16  # of the descriptors that a program is given
_LOG_MAX_BYTES: Final = 1000


class Files(NamedTuple):
    directory: str
    name: str

    def path(self, ending: str) -> str:
        return f"{self.directory}/{self.name}.{ending}"


def start_slirp(netns_path: str, ifname: str, files: Files, what: str) -> None:
    """slirp4netns for a namespace; returns when its interface is up there.

    Raises Unavailable with the program's own words.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    directory_fd = os.open(files.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    socket_path = f"/proc/self/fd/{_DIRECTORY_FD}/{files.name}.sock"  # sun_path has room for 108 bytes
    words = slirp.plan_words(netns_path, ifname, _READY_FD, socket_path)
    try:
        slirp.remove_socket(files.directory, f"{files.name}.sock")
        pid = spawn(words, files, {write_fd: _READY_FD, directory_fd: _DIRECTORY_FD})
    finally:
        os.close(write_fd)
        os.close(directory_fd)
    try:
        note(files, pid)
        ready = select.select([read_fd], [], [], _READY_TIMEOUT_S)[0] and os.read(read_fd, 1)
    finally:
        os.close(read_fd)
    if not ready:
        raise Unavailable(f"{what}: {slirp.PROGRAM}: {last_words(files)}", hint=_explain(files))


def publish(files: Files, mapping: dict[str, Any]) -> int:
    """Have slirp4netns listen on a port of the host (CNI's portMappings); a number to withdraw it by.

    Raises AlreadyExists for a port that cannot be had.
    """
    with _open_directory(files) as directory:
        return slirp.publish(f"{directory}/{files.name}.sock", mapping)


def withdraw(files: Files, number: int) -> None:
    """Undo `publish`; nothing happens when there is no such port any more."""
    with _open_directory(files) as directory:
        slirp.withdraw(f"{directory}/{files.name}.sock", number)


@contextmanager
def _open_directory(files: Files) -> Iterator[str]:
    """A short name for it, as sun_path has room for 108 bytes."""
    fd = os.open(files.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def spawn(words: Sequence[str], files: Files, fds: dict[int, int]) -> int:
    """The program, without a terminal and with nothing of ours open but `fds` (ours: its)."""
    log = os.open(files.path("log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    high = {fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY): fds[ours] for ours in fds}
    try:
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
            *((os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in high.items()),
        ]
        path = shutil.which(words[0]) or words[0]
        usual = (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT)  # Python, or its caller, may ignore these
        return os.posix_spawn(
            path, list(words), os.environ, file_actions=actions, setsid=True, setsigdef=usual
        )
    finally:
        for fd in (log, *high):
            os.close(fd)


def note(files: Files, pid: int) -> None:
    with open(files.path("json"), "w", encoding="ascii") as file:
        json.dump({"pid": pid, "start_time": _read_start_time(pid)}, file)


def _read_start_time(pid: int) -> int:
    """proc(5), field 22 of stat; 0 when there is no such process, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == b"Z" else int(fields[19])


def find_process(files: Files) -> int:
    """A pidfd; -1 when it has gone."""
    try:
        with open(files.path("json"), encoding="ascii") as file:
            noted = json.load(file)
        fd = os.pidfd_open(noted["pid"])
    except (OSError, ValueError, KeyError):
        return -1
    if noted["start_time"] and _read_start_time(noted["pid"]) == noted["start_time"]:
        return fd
    os.close(fd)
    return -1


def end(files: Files) -> None:
    """Kill the process and remove its files; nothing happens when they are gone."""
    fd = find_process(files)
    if fd >= 0:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], _READY_TIMEOUT_S)
        try:
            os.waitid(os.P_PIDFD, fd, os.WEXITED)
        except ChildProcessError:
            pass  # another process started it
        os.close(fd)
    for ending in ("json", "log", "sock", "pid"):
        try:
            os.unlink(files.path(ending))
        except FileNotFoundError:
            pass


def last_words(files: Files) -> str:
    try:
        with open(files.path("log"), encoding="utf-8", errors="replace") as file:
            return " ".join(file.read()[-_LOG_MAX_BYTES:].split()) or "it ended without a word"
    except OSError:
        return "it ended without a word"


def _explain(files: Files) -> str:
    if "/dev/net/tun" in last_words(files):
        return "this user may not open /dev/net/tun: chmod 666 /dev/net/tun, as distributions have it"
    return ""
