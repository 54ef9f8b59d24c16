"""An engine in a process of its own, forked and told what to do, so that it can be killed."""

import os
import pickle
import select
import signal
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from rundlet.engine.engine import Engine
from rundlet.engine.settings import Settings
from rundlet.errors import Error
from rundlet.failpoint import open_observer
from rundlet.step import watch

Ids = dict[str, str]
Act = Callable[[Engine, Ids], Ids | None]
"""One call of a client, who knows the ids that it was told; it answers further ones."""


class Answer(NamedTuple):
    """What the call came to: `failure` is empty when it went well, `kind` the exception's name else."""

    ids: Ids
    kind: str = ""
    failure: str = ""


class EngineProcess:
    """When it has recovered it waits for calls."""

    def __init__(self, settings: Settings) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._sock.close()
            _live(settings, theirs)
        theirs.close()
        self.pidfd = os.pidfd_open(self.pid)

    def await_recovered(self) -> bool:
        """False when it has died before."""
        answer = self.receive(30)
        assert answer is None or not answer.failure, f"recovery: {answer.kind}: {answer.failure}"
        return answer is not None

    def begin(self, act: Act, ids: Ids) -> None:
        try:
            self._sock.send(pickle.dumps((act, ids)))
        except BrokenPipeError:
            raise AssertionError("the engine's process has died") from None

    def has_answered(self) -> bool:
        """Or died."""
        return bool(select.select([self._sock], [], [], 0)[0])

    def receive(self, timeout_s: float) -> Answer | None:
        """None when the process has died."""
        self._sock.settimeout(timeout_s)
        try:
            raw = self._sock.recv(1 << 16)
        except ConnectionResetError:
            raw = b""
        except TimeoutError:
            raise AssertionError(f"no answer within {timeout_s:g} s") from None
        return Answer(*pickle.loads(raw)) if raw else None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Reap it when it was killed."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self._sock.close()

    def close(self) -> None:
        """Have it close its engine and end."""
        self._sock.shutdown(socket.SHUT_WR)
        self.wait()


def _live(settings: Settings, sock: socket.socket) -> None:
    code = 1
    try:
        os.setsid()
        watch(open_observer(os.environ["RUNDLET_FAILPOINTS"]))
        with Engine(settings) as engine:
            sock.send(pickle.dumps(Answer({})))
            while raw := sock.recv(1 << 16):
                act, ids = pickle.loads(raw)
                sock.send(pickle.dumps(_do(act, engine, ids)))
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test is told
        sock.send(pickle.dumps(Answer({}, type(error).__name__, str(error))))
    finally:
        os._exit(code)


def _do(act: Act, engine: Engine, ids: Ids) -> tuple[Any, ...]:
    try:
        return Answer(act(engine, ids) or {})
    except (Error, OSError, AssertionError) as error:
        return Answer({}, type(error).__name__, str(error))
