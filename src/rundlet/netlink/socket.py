"""A conversation with the kernel over a netlink socket (netlink(7)).

rtnetlink and nfnetlink do the work inside sendmsg(2), in order, and the answers
are queued when it returns; a dump queues its next part as the former is read.
So no read here ever has to wait, and an empty queue means that the answer is
lost: no time-outs.
"""

import errno
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from rundlet.errors import Error, Internal, Unavailable
from rundlet.netlink.message import (
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    Request,
    decode,
    decode_verdict,
    encode,
    refusal,
)

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10  # acknowledgements without the request's body
_NETLINK_EXT_ACK = 11  # … with the kernel's sentence about what is wrong
_NETLINK_GET_STRICT_CHK = 12  # dumps honour the filter in their header

# Parts of a dump are at most 32 KiB (NLMSG_GOODSIZE and min_dump_alloc in af_netlink.c).
_RECEIVE_SIZE_BYTES = 1 << 16
# A dump that raced with a change says so; it is asked again, and a storm of changes ends in an error.
_DUMP_TRIES = 8

# Two file descriptors of one socket share its queue, and a reader must not take another's answers.
# Threads that talk over descriptors of the same socket find the same lock here, by the inode.
_SHARED_LOCKS = tuple(threading.Lock() for _ in range(64))

# Not from 1: a socket that another process used before must not hold an answer that looks like ours.
_SEQUENCE = itertools.count(time.monotonic_ns() // 1000 & 0x3FFF_FFFF)

heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
"""Where what changes are for is written down, by whoever wants to know (`network.rehearsal`)."""


class NetlinkSocket:
    """A netlink socket; `with` closes it.  Thread-safe: one conversation at a time."""

    def __init__(self, protocol: int = NETLINK_ROUTE, *, fd: int = -1, owned: bool = False) -> None:
        """A new socket in this thread's network namespace, or another handle of the one open on `fd`.

        A socket stays in the namespace it was made in, wherever its user is.
        `fd` stays the caller's, or, `owned`, is closed with this.  Raises OSError.
        """
        if fd < 0:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            self._lock = threading.Lock()
        else:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW, protocol, fd if owned else os.dup(fd)
            )
            self._lock = _SHARED_LOCKS[os.fstat(fd).st_ino % len(_SHARED_LOCKS)]
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def execute(self, *requests: Request) -> None:
        """Do `requests` in order, all in one datagram; the error of the first that is refused.

        rtnetlink goes on after a refused one; an nftables batch is all or nothing.
        """
        if not requests:
            return
        listener = heard.get()
        if listener is not None:
            listener += [request.purpose for request in requests]
        with self._lock:
            self._converse(requests)

    def query(self, request: Request) -> Message:
        """The one message that answers `request`; NotFound when the object is not there."""
        with self._lock:
            answers = self._converse([request])
        if not answers:
            raise Internal(f"cannot {request.purpose}: the kernel gave no answer")
        return answers[0]

    def dump(self, request: Request) -> list[Message]:
        """All messages that answer `request`, as one consistent picture."""
        with self._lock:
            for _ in range(_DUMP_TRIES):
                sequence = next(_SEQUENCE)
                self._send([request], [sequence])
                *answers, done = self._read_dump(request, sequence)
                if not any(answer.flags & NLM_F_DUMP_INTR for answer in (*answers, done)):
                    return answers
        raise Unavailable(f"cannot {request.purpose}: it changed {_DUMP_TRIES} times while it was read")

    def _converse(self, requests: Sequence[Request]) -> list[Message]:
        """Send, then read until every request that asked for it is acknowledged; the answers."""
        asked = {next(_SEQUENCE): request for request in requests}
        self._send(requests, asked)
        waiting = {sequence for sequence, request in asked.items() if request.flags & NLM_F_ACK}
        answers: list[Message] = []
        refused: dict[int, Error] = {}
        while waiting and (messages := self._receive()):
            for message in messages:
                if message.sequence not in asked:
                    continue  # left over from a conversation that broke off
                if message.kind != NLMSG_ERROR:
                    answers.append(message)
                    continue
                waiting.discard(message.sequence)
                verdict = decode_verdict(message)
                if verdict.errno:
                    refused[message.sequence] = refusal(asked[message.sequence].purpose, *verdict)
        if refused:
            raise refused[min(refused)]
        if waiting:
            raise Internal(f"cannot {asked[min(waiting)].purpose}: the kernel's answer is lost")
        return answers

    def _read_dump(self, request: Request, sequence: int) -> list[Message]:
        """The parts of a dump, NLMSG_DONE last."""
        parts: list[Message] = []
        while messages := self._receive():
            for message in messages:
                if message.sequence != sequence:
                    continue
                parts.append(message)
                if message.kind in {NLMSG_DONE, NLMSG_ERROR}:
                    verdict = decode_verdict(message)
                    if verdict.errno:
                        raise refusal(request.purpose, *verdict)
                    return parts
        raise Internal(f"cannot {request.purpose}: the end of the kernel's answer is lost")

    def _send(self, requests: Sequence[Request], sequences: Iterable[int]) -> None:
        data = b"".join(map(encode, requests, sequences))
        try:
            self._socket.send(data)
        except OSError as error:
            raise refusal(requests[0].purpose, error.errno or errno.EIO) from error

    def _receive(self) -> list[Message]:
        """The messages of the next datagram; none when the queue is empty."""
        try:
            return decode(self._socket.recv(_RECEIVE_SIZE_BYTES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return []
        except OSError as error:
            raise refusal("read the kernel's answer", error.errno or errno.EIO) from error
