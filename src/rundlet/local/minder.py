"""The minder: waits for what has to be done for containers without anybody asking, and has it done.

    keeper ── exits, "mind" ──▶ minder ── "look" lines ──▶ hand (`rundlet.local.hand`), while there is work
                                       ◀── when next ─────

It lives as long as containers are there that need it (`keeper.minder` starts it, and again when it dies), so
it is small: it knows no records and no rules, imports next to nothing, and waits.  The hand has the
engine, does what is due, says when the next thing is, and leaves; in between nothing but this is there.

It leaves when a hand says that nothing is left to mind, unless a wish is just on its way.
"""

import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import NamedTuple

from rundlet.errors import Unavailable
from rundlet.keeper.connection import Connection, connect

_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from rundlet.local.hand import main; main()"
_PAUSE_S = 0.1
_PAUSE_MAX_S = 30.0
_RETRY_S = 0.1
_ANSWER_MAX_BYTES = 4096
_PATIENCE_MAX_MS = 1 << 30
_NS = 10**9
_SECOND_LOOK_NS = 3 * _NS
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


class Answer(NamedTuple):
    """What a hand says at its end: the "look" lines it heeded, when to look again (0: an event will say)."""

    heeded: int
    at_ns: int
    needed: bool


class Hand:
    """One that is at work."""

    def __init__(self, source: str) -> None:
        theirs_in, self._in = os.pipe2(os.O_CLOEXEC)
        self.fd, theirs_out = os.pipe2(os.O_CLOEXEC)
        self.asked = 0
        self._pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", _BOOTSTRAP, source],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs_in, 0), (os.POSIX_SPAWN_DUP2, theirs_out, 1)],
            setsigdef=_DEFAULT_SIGNALS,
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def ask(self) -> None:
        """Have it look once more."""
        self.asked += 1
        try:
            os.write(self._in, b"look\n")
        except BrokenPipeError:
            pass  # it is about to end, and has not heeded this

    def finish(self) -> Answer | None:
        """What it said; None when it failed.  To be called when `fd` is readable."""
        said = os.read(self.fd, _ANSWER_MAX_BYTES)
        os.close(self._in)
        os.close(self.fd)
        _, wait_status = os.waitpid(self._pid, 0)
        return Answer(**json.loads(said)) if said and wait_status == 0 else None


class Minder:
    def __init__(self, run_root: str, source: str, *, look: bool) -> None:
        self._run_root = run_root
        self._source = source
        self._hand: Hand | None = None
        self._look = look
        self._look_at_ns = 0
        self._needed = True
        self._wished = False  # since the hand began, for a container that it may not have seen
        self._pause_s = _PAUSE_S

    def run(self) -> None:
        """Until nothing is left to mind."""
        while True:
            try:
                connection = connect(self._run_root)
                try:
                    connection.send("watch", {"minds": True})
                    connection.receive()
                    if connection.receive().message["mind"]:  # wished before it listened
                        self._ask()
                    self._serve(connection)
                    if self._is_let_go(connection):
                        return
                finally:
                    connection.close()
            except Unavailable:
                time.sleep(_RETRY_S)
            self._ask()  # whatever happened while nobody listened

    def _serve(self, connection: Connection) -> None:
        """Until a hand has said that nothing is left to mind."""
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        while self._needed or self._hand is not None or self._look:
            if self._hand is None and (self._look or 0 < self._look_at_ns <= time.time_ns()):
                self._hand = Hand(self._source)
                self._look, self._look_at_ns, self._wished = False, 0, False
            if self._hand is not None:
                poll.register(self._hand.fd, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(self._patience_ms())]
            if connection.fileno() in ready:
                self._hear(connection)
            if self._hand is not None and self._hand.fd in ready:
                poll.unregister(self._hand.fd)
                self._take_answer(self._hand)

    def _patience_ms(self) -> int | None:
        if self._hand is not None or not self._look_at_ns:
            return None
        return min(max(0, (self._look_at_ns - time.time_ns()) // 10**6 + 1), _PATIENCE_MAX_MS)

    def _hear(self, connection: Connection) -> None:
        message = connection.receive().message
        look = message.get("mind", True)  # an end means one, too
        self._needed = self._needed or "mind" in message
        self._wished = self._wished or not look
        if look:
            self._ask()

    def _ask(self) -> None:
        if self._hand is not None:
            self._hand.ask()
        else:
            self._look = True

    def _take_answer(self, hand: Hand) -> None:
        self._hand = None
        answer = hand.finish()
        if answer is None:
            self._look_at_ns = time.time_ns() + int(self._pause_s * _NS)
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
            return
        self._pause_s = _PAUSE_S
        self._look = answer.heeded < hand.asked
        self._look_at_ns = answer.at_ns
        self._needed = answer.needed
        if self._wished and not answer.needed:  # a container is just being started, or was not in the end
            self._needed, self._look_at_ns = True, time.time_ns() + _SECOND_LOOK_NS

    def _is_let_go(self, connection: Connection) -> bool:
        """Whether no wish came until the keeper knew that nobody listens any more."""
        connection.finish()
        while True:
            try:
                if "mind" in connection.receive().message:
                    return False
            except Unavailable:
                return True


def main(argv: list[str]) -> None:
    """`argv`: import path, run root.  One at a time; another one waits, should there be two."""
    source, run_root = argv
    with open("/proc/self/comm", "wb") as comm:
        comm.write(b"rundlet-minder")
    os.makedirs(f"{run_root}/local", mode=0o700, exist_ok=True)
    lock = os.open(f"{run_root}/local/minder.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    look = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_EX)
        look = True  # the other one may have been told what this one was started for
    Minder(run_root, source, look=look).run()


if __name__ == "__main__":
    main(sys.argv[1:])
