"""usermode: a pod's network by a process of an ordinary user, slirp4netns or pasta.

A plugin of its own kind: who may make no interface on the host has no other.  slirp4netns comes
first, as it needs nothing of the host's addresses; {"program": "pasta"} in the network's
configuration asks for the other.

    <run dir>/<container>-<ifname>.json    the process: {"pid": …, "start_time": …}
                                  .log     what it has said
                                  .sock    slirp4netns's API

The process outlives the one that started it, and is killed when the pod leaves the network.
"""

import fcntl
import json
import logging
import os
import select
import shutil
import signal
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rundlet.errors import FailedPrecondition, Unavailable
from rundlet.kernel.failure import translating
from rundlet.netlink import address, link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network import pasta, slirp
from rundlet.network.call import Builtin, Call
from rundlet.network.loopback import set_loopback_up
from rundlet.spec.cni import Interface, IpConfig, Result

TYPE: Final = "usermode"
_PROGRAMS: Final = (slirp.PROGRAM, pasta.PROGRAM)
_INSTALL: Final = "install slirp4netns, or passt for pasta"
_READY_TIMEOUT_S: Final = 10.0
_READY_FD, _DIRECTORY_FD = 3, 4  # in the program
_OUT_OF_THE_WAY: Final = 16  # of the descriptors that a program is given
_LOG_MAX_BYTES: Final = 1000
_log = logging.getLogger(__name__)


class _Files(NamedTuple):
    directory: str
    name: str

    def path(self, ending: str) -> str:
        return f"{self.directory}/{self.name}.{ending}"


class UserMode(Builtin):
    """`run_dir` does not survive a reboot, as the processes do not."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir

    def add(self, call: Call) -> Result:
        """Without either program a pod gets a loopback and a warning; published ports are refused then."""
        mappings = call.conf.get("runtimeConfig", {}).get("portMappings") or []
        program = _find_program(call)
        if not program:
            if mappings:
                raise FailedPrecondition(f"{call.what}: no program to publish ports with", hint=_INSTALL)
            _log.warning("%s: the pod has a loopback only; to reach others %s", call.what, _INSTALL)
            set_loopback_up(call.attachment.route_fd)
            return Result()
        files = self._files(call)
        with translating(f"{call.what}: start {program}"):
            os.makedirs(self._run_dir, mode=0o700, exist_ok=True)
            return self._start(program, call, files, mappings)

    def _start(self, program: str, call: Call, files: _Files, mappings: Sequence[dict[str, Any]]) -> Result:
        pod = call.attachment
        try:
            if program == pasta.PROGRAM:
                _start_pasta(pasta.plan_words(pod.netns_path, pod.ifname, files.path("pid"), mappings), files)
                return _read_result(call)
            _start_slirp(call, files)
            directory_fd = os.open(files.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                slirp.publish(directory_fd, f"{files.name}.sock", mappings)
            finally:
                os.close(directory_fd)
        except BaseException:
            _end(files)
            raise
        return slirp.describe_result(pod.ifname, pod.netns_path)

    def delete(self, call: Call) -> None:
        _end(self._files(call))

    def check(self, call: Call) -> None:
        if _find_process(self._files(call)) < 0:
            raise FailedPrecondition(f"{call.what}: the process that is the pod's network has ended")

    def status(self, call: Call) -> None:
        if not _find_program(call):
            raise FailedPrecondition(f"{call.what}: no program for it", hint=_INSTALL)

    def collect(self, call: Call) -> None:
        kept = {f"{owner.container_id}-{owner.ifname}" for owner in call.valid}
        names = {entry.removesuffix(".json") for entry in _list(self._run_dir) if entry.endswith(".json")}
        for name in names - kept:
            _end(_Files(self._run_dir, name))

    def _files(self, call: Call) -> _Files:
        return _Files(self._run_dir, "-".join(call.owner))


def _find_program(call: Call) -> str:
    """Empty where nothing of the kind is installed."""
    wanted = call.conf.get("program")
    names = (wanted,) if wanted in _PROGRAMS else _PROGRAMS
    return next((name for name in names if shutil.which(name)), "")


def _start_slirp(call: Call, files: _Files) -> None:
    """Returns when the pod's interface is up."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    directory_fd = os.open(files.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    socket_path = f"/proc/self/fd/{_DIRECTORY_FD}/{files.name}.sock"  # sun_path has room for 108 bytes
    words = slirp.plan_words(call.attachment.netns_path, call.attachment.ifname, _READY_FD, socket_path)
    try:
        slirp.remove_socket(files.directory, f"{files.name}.sock")
        pid = _spawn(words, files, {write_fd: _READY_FD, directory_fd: _DIRECTORY_FD})
    finally:
        os.close(write_fd)
        os.close(directory_fd)
    try:
        _note(files, pid)
        ready = select.select([read_fd], [], [], _READY_TIMEOUT_S)[0] and os.read(read_fd, 1)
    finally:
        os.close(read_fd)
    if not ready:
        raise Unavailable(f"{call.what}: {slirp.PROGRAM}: {_last_words(files)}", hint=_explain(files))


def _start_pasta(words: Sequence[str], files: _Files) -> None:
    """Its first process ends when the other one, in the background, has set all up."""
    pid = _spawn(words, files, {})
    _, status = os.waitpid(pid, 0)
    if status:
        raise Unavailable(f"{pasta.PROGRAM}: {_last_words(files)}")
    with open(files.path("pid"), encoding="ascii") as file:
        _note(files, int(file.read()))
    os.unlink(files.path("pid"))


def _spawn(words: Sequence[str], files: _Files, fds: dict[int, int]) -> int:
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


def _note(files: _Files, pid: int) -> None:
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


def _find_process(files: _Files) -> int:
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


def _end(files: _Files) -> None:
    """Kill the process and remove its files; nothing happens when they are gone."""
    fd = _find_process(files)
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


def _last_words(files: _Files) -> str:
    try:
        with open(files.path("log"), encoding="utf-8", errors="replace") as file:
            return " ".join(file.read()[-_LOG_MAX_BYTES:].split()) or "it ended without a word"
    except OSError:
        return "it ended without a word"


def _explain(files: _Files) -> str:
    if "/dev/net/tun" in _last_words(files):
        return "this user may not open /dev/net/tun: chmod 666 /dev/net/tun, as distributions have it"
    return ""


def _read_result(call: Call) -> Result:
    """What pasta gave the pod: as its interface says."""
    pod = call.attachment
    with NetlinkSocket(fd=pod.route_fd) as route:
        found = link.find_link(route, pod.ifname)
        if found is None:
            raise Unavailable(f"{call.what}: {pasta.PROGRAM} made no interface")
        own = map(address.parse_address, route.dump(address.list_addresses(found.ifindex)))
        ips = [one.ip for one in own if not one.link_local]
    return Result(
        interfaces=(Interface(pod.ifname, mac=found.mac, sandbox=pod.netns_path),),
        ips=tuple(IpConfig(str(ip), interface=0) for ip in ips),
    )


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
