"""The gRPC server on one unix socket: both services of CRI and ours beside them, mode 0600.

A socket file that is left over from a dead daemon is replaced; one that still
answers is another daemon's and is an error.  Between bind and the first client
nothing is open: the file is made under umask 0177.
"""

import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor

import grpc

from rundlet.cri.endpoint import socket_path
from rundlet.cri.guard import ErrorGuard
from rundlet.cri.images import ImageService
from rundlet.cri.insight import InsightService
from rundlet.cri.observer import CallObserver
from rundlet.cri.proto import api_pb2_grpc
from rundlet.cri.runtime import RuntimeService
from rundlet.cri.stream_server import StreamServer
from rundlet.engine.engine import Engine
from rundlet.errors import AlreadyExists, FailedPrecondition, Unavailable

WORKERS = 64  # blocking calls at once: pulls, stops and execs wait in their thread
MESSAGE_LIMIT_BYTES = 80 * (1 << 20)  # what the other CRI runtimes accept and kubelets rely on


def _answers(path: str) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            raise Unavailable(f"cannot tell whether {path} is in use: {error.strerror}") from error
        return True


def clear_stale_socket(path: str) -> None:
    """Removes a dead daemon's socket file.

    Raises AlreadyExists when a daemon answers there, FailedPrecondition when
    the file is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition(f"{path} exists and is not a socket")
    if _answers(path):
        raise AlreadyExists(
            f"another daemon answers on {path}",
            hint="stop it, or give this one its own --socket, --root and --run-root",
        )
    os.unlink(path)


class Server:
    """Serves an engine from start() until stop()."""

    def __init__(self, engine: Engine, address: str, streams: StreamServer | None = None) -> None:
        self.path = socket_path(address)
        self._inode = 0
        size = [(f"grpc.max_{way}_message_length", MESSAGE_LIMIT_BYTES) for way in ("send", "receive")]
        self._server = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="cri"),
            interceptors=[ErrorGuard(), CallObserver(engine.tracer)],
            options=size,
        )
        api_pb2_grpc.add_RuntimeServiceServicer_to_server(RuntimeService(engine, streams), self._server)
        api_pb2_grpc.add_ImageServiceServicer_to_server(ImageService(engine), self._server)
        self._server.add_generic_rpc_handlers((InsightService(engine.insight).handler(),))

    def start(self) -> None:
        """Raises AlreadyExists, FailedPrecondition or Unavailable when the socket cannot be had."""
        os.makedirs(os.path.dirname(self.path), mode=0o711, exist_ok=True)
        clear_stale_socket(self.path)
        self._bind()
        self._server.start()

    def _bind(self) -> None:
        previous = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {self.path}: {error}") from error
        finally:
            os.umask(previous)
        self._inode = os.stat(self.path).st_ino

    def stop(self, grace_s: float) -> None:
        """Refuses new calls at once, gives running ones `grace_s`, then cancels them; removes the socket."""
        self._server.stop(grace_s).wait()
        try:
            if os.stat(self.path).st_ino == self._inode:  # not a successor's
                os.unlink(self.path)
        except FileNotFoundError:
            pass
