"""The wire between the engine and the keeper, and the keeper's files.

A unix SOCK_SEQPACKET connection; every packet is one JSON object, descriptors
ride along by SCM_RIGHTS.  A packet over PACKET_MAX_BYTES says only
{"body": true} and brings the JSON in a memfd, as its first descriptor.

    engine → keeper                                      keeper → engine
    {"id": 1, "verb": "create", "args": {…}}   (fds)     {"id": 1, "ok": {…}}   (fds)
                                                         {"id": 1, "error": [code, message, hint]}

    verb            args                                          answer
    version                                                       protocol oldest pid anchor
    make_pod        pod_id kinds hostname sysctls cgroup user     paths init_pid   fds: netns, route socket
    remove_pod      pod_id
    pod_socket      pod_id family                                 fds: a TCP socket of the pod's network
    create          plan log_path log_limit stdin stdin_once      pid              when the gate is reached
                    … and start: true                             … started_at_ns  when execve(2) was done
    create_external plan log_path log_limit stdin stdin_once      pid              another program makes it
    start           container_id                                  started_at_ns    when execve(2) was done
    signal          container_id signum all
    update          container_id resources                                         of one that another program made
    wait            container_id                                  exit             when it has ended
    delete          container_id                                                   when nothing is left
    state           container_id                                  state
    list                                                          states
    exec            container_id process  fds: stdin stdout stderr
                                                                  exec_id pid      when execve(2) was done
                                                                  fds: the terminal's master
                    … and later, with the same id                 exit
    wait_exec       container_id exec_id                          exit             when it has ended, kept for one asker
    signal_exec     exec_id signum
    reopen_log      container_id
    attach          container_id stdin lossless                   lossless
                                                                  fds: a socket as `rundlet.keeper.attach` draws it
    resize          container_id height width
    watch           oom, minds (whether)                          nothing, then exit, again and again,
                                                                  and oom: container_id, time_ns
                                                                  and mind: whether to look (`keeper.minder`)
    mind            argv env look later                           pid
    unmind                                                        of this connection's, what was for later

Answers come when the thing has happened, so one connection may wait while others
work; whoever gives up waiting closes its connection.

Files (all under the run root, which is a tmpfs and ends with the boot):

    <run root>/keeper/lock                    held while a keeper is being started
    <run root>/keeper/sock                    the socket, mode 0600
    <run root>/keeper/log                     what the keeper itself has to say
    <run root>/keeper/journal                 the batch of output under way, see `rundlet.keeper.journal`
    <run root>/keeper/minder                  JSON: how the minder is started, see `rundlet.keeper.minder`
    <run root>/keeper/pods/ID/{net,ipc,uts}   namespaces, pinned by bind mounts; `init` holds a pid
    <run root>/keeper/containers/ID/state     JSON: what a new supervisor must know of the container
    <run root>/keeper/containers/ID/exit      JSON: the exit record
    <run root>/keeper/containers/ID/exec-…    JSON: an exec under way, or how it ended
    <run root>/keeper/containers/ID/hooks     JSON: hooks that are still to run
    <run root>/keeper/containers/ID/{start,stdin,stdout,stderr}   FIFOs

The directory goes when the keeper leaves, which it does when nothing is left to keep.
"""

import array
import json
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any, NamedTuple

from rundlet.errors import Unavailable

PROTOCOL_VERSION = 2
OLDEST_VERSION = 2
"""The oldest protocol that this side still speaks."""
OLDER_HINT = "it is older than this rundlet, and leaves when its last container and pod are removed"
"""For a request that a keeper of the same protocol does not know yet."""

PACKET_MAX_BYTES = 96 * 1024
FDS_MAX = 4
_BODY = b'{"body":true}'


class ExitRecord(NamedTuple):
    """How a process ended: `exit_code` is 128 + `signal` when it was killed, 255 when nobody could know.

    `exec_id` is empty for a container's first process.
    """

    container_id: str
    exec_id: str
    exit_code: int
    signal: int
    oom_killed: bool
    finished_at_ns: int


class ContainerState(NamedTuple):
    """`status` is created, running or stopped, as the runtime-spec has them."""

    status: str
    pid: int
    started_at_ns: int
    exit: ExitRecord | None


def to_exit(fields: Sequence[Any]) -> ExitRecord:
    return ExitRecord(*fields)


def to_state(fields: Sequence[Any]) -> ContainerState:
    status, pid, started_at_ns, exit_fields = fields
    return ContainerState(status, pid, started_at_ns, to_exit(exit_fields) if exit_fields else None)


class PodNamespaces(NamedTuple):
    """Pinned namespaces by kind ("net", "ipc", "uts", "pid"); the caller closes the descriptors (-1: none)."""

    paths: dict[str, str]
    netns_fd: int
    route_fd: int
    init_pid: int


class Started(NamedTuple):
    """A container's first process, and when it executed its program."""

    pid: int
    started_at_ns: int


class OomEvent(NamedTuple):
    """The kernel has killed a process of the container, the first or another, for want of memory."""

    container_id: str
    time_ns: int


class LogLimit(NamedTuple):
    """A log that has grown to `max_size_bytes` (0: no limit) becomes PATH.1; at most `max_files` with the current one."""

    max_size_bytes: int = 0
    max_files: int = 1


UNLIMITED = LogLimit()


class Packet(NamedTuple):
    """`raw` is the message as it came."""

    message: dict[str, Any]
    fds: list[int]
    raw: bytes = b""


def send_packet(sock: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message; OSError as send(2), BlockingIOError when a slow reader's queue is full."""
    send_raw(sock, json.dumps(message, separators=(",", ":")).encode(), fds)


def send_raw(sock: socket.socket, raw: bytes, fds: tuple[int, ...] = ()) -> None:
    """As `send_packet`, of bytes."""
    if len(raw) <= PACKET_MAX_BYTES:
        _send(sock, raw, fds)
        return
    body = os.memfd_create("rundlet-packet", os.MFD_CLOEXEC)
    try:
        with open(body, "wb", closefd=False) as file:
            file.write(raw)
        _send(sock, _BODY, (body, *fds))
    finally:
        os.close(body)


def _send(sock: socket.socket, raw: bytes, fds: tuple[int, ...]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([raw], rights, socket.MSG_NOSIGNAL)


def receive_packet(sock: socket.socket) -> Packet | None:
    """The next message, None at the end; descriptors are close-on-exec and the caller's to close.

    OSError as recvmsg(2), Unavailable for what is no message of ours: then nothing is left to close.
    """
    raw, fds = receive_raw(sock)
    if not raw:
        _close_all(fds)
        return None
    try:
        message = json.loads(raw)
        if type(message) is dict:
            return Packet(message, fds, raw)
    except (ValueError, RecursionError):
        pass  # a nest of brackets ends the parser by the second
    _close_all(fds)
    raise Unavailable("keeper: a packet is no JSON object")


def receive_raw(sock: socket.socket) -> tuple[bytes, list[int]]:
    """The bytes of the next message, empty at the end, and its descriptors."""
    raw, fds, flags, _ = socket.recv_fds(sock, PACKET_MAX_BYTES + 1, FDS_MAX + 1, socket.MSG_CMSG_CLOEXEC)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        _close_all(fds)
        raise Unavailable("keeper: a packet was cut short")
    return (_read_body(fds), fds[1:]) if raw == _BODY else (raw, fds)


def _read_body(fds: list[int]) -> bytes:
    """The message in the memfd that comes first, which is closed; on any failure all are."""
    try:
        status = os.fstat(fds[0])
        if stat.S_ISREG(status.st_mode):  # a pipe would have the reader wait for its writer
            raw = os.pread(fds[0], status.st_size, 0)
            os.close(fds[0])
            return raw
    except (IndexError, OSError):
        pass
    _close_all(fds)
    raise Unavailable("keeper: a packet's body cannot be read")


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
