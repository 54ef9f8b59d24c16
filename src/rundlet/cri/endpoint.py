"""Where CRI runtimes listen, and a quick look whether one answers.  No gRPC here: it is slow to import."""

import errno
import os
import socket

from rundlet.errors import DeadlineExceeded, InvalidArgument, NotFound, PermissionDenied, Unavailable

DEFAULT_SOCKET = "/run/rundlet/rundlet.sock"
KNOWN_SOCKETS = (DEFAULT_SOCKET, "/run/crio/crio.sock", "/run/containerd/containerd.sock")
PATH_LIMIT_BYTES = 107  # sockaddr_un.sun_path less its NUL, unix(7)
# RFC 9113, 3.4: the client's preface and a SETTINGS frame without settings; the server answers with its own.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
START_HINT = "start the daemon with: rundletd &"


def socket_path(address: str) -> str:
    """The path in "unix:///run/x.sock", "unix:/run/x.sock" or "/run/x.sock"; InvalidArgument otherwise."""
    path = address.removeprefix("unix:")
    path = path.removeprefix("//") if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidArgument(
            f"not a unix socket: {address!r}", hint="write it as unix:///run/rundlet/rundlet.sock"
        )
    if len(os.fsencode(path)) > PATH_LIMIT_BYTES:
        raise InvalidArgument(f"the socket path is longer than {PATH_LIMIT_BYTES} bytes: {path}")
    return path


def find_endpoint() -> str:
    """The first known socket that exists, ours when none does."""
    found = next((path for path in KNOWN_SOCKETS if os.path.exists(path)), DEFAULT_SOCKET)
    return f"unix://{found}"


def check_endpoint(address: str, timeout_s: float) -> None:
    """Connects, waits for a first word, and hangs up.

    The kernel takes connections for a server that is stopped or hangs; its first word does not come then.
    Raises NotFound (no socket), Unavailable (nobody answers), PermissionDenied
    or DeadlineExceeded, each naming the endpoint.
    """
    path = socket_path(address)
    hint = (
        START_HINT
        if path == DEFAULT_SOCKET
        else "check --runtime-endpoint, or start the runtime that owns it"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect(path)
            probe.sendall(_HTTP2_GREETING)
            if not probe.recv(1):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "it hung up")
        except FileNotFoundError as error:
            raise NotFound(f"no CRI runtime at {address}: the socket does not exist", hint=hint) from error
        except ConnectionRefusedError as error:
            raise Unavailable(f"no CRI runtime at {address}: connection refused", hint=hint) from error
        except PermissionError as error:
            raise PermissionDenied(f"may not connect to {address}", hint="run it as root") from error
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer from {address} within {timeout_s:g} s: it is there, but hangs or is stopped",
                hint="`rundlet why` tells what it was doing; --timeout gives it longer",
            ) from error
        except OSError as error:
            raise Unavailable(f"cannot connect to {address}: {error.strerror}", hint=hint) from error
