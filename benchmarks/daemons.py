"""Daemons that a figure needs, each with its own state, as children of the benchmark."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.bench import await_true
from rundlet.cli.walk_place import accepts

_STOP_TIMEOUT_S = 20.0
CNI_PLUGINS = "/usr/lib/cni"
# What a host must have for each.
CONTAINERD = ("containerd", "ctr", "containerd-shim-runc-v2", "runc")
CONTAINERD_CRI = (*CONTAINERD, f"{CNI_PLUGINS}/bridge", f"{CNI_PLUGINS}/host-local")
REGISTRY = ("docker-registry",)

_REGISTRY = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {directory}/registry}}}}
http: {{addr: '{address}'}}
"""
_CONTAINERD = """\
version = 2
root = "{base}/root"
state = "{run}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{base}/net.d"
"""


@contextmanager
def running(argv: Sequence[str], log: str) -> Iterator[int]:
    """A process until the end of the block; its pid.  Its words go to `log`."""
    with (
        open(log, "wb") as file,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as process,
    ):
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_registry(directory: str) -> Iterator[str]:
    """Debian's docker-registry; its address."""
    port = free_port()
    config = f"{directory}/registry.yml"
    with open(config, "w", encoding="ascii") as file:
        file.write(_REGISTRY.format(directory=directory, address=f"127.0.0.1:{port}"))
    with running(["docker-registry", "serve", config], f"{directory}/registry.log"):
        await_true(lambda: is_listening(port), "docker-registry listens")
        yield f"127.0.0.1:{port}"


def containerd_socket() -> str:
    return f"/run/containerd-bench-{os.getpid()}/containerd.sock"


def write_containerd_config(base: str, pause: str) -> tuple[list[str], str]:
    """The command line of a containerd of its own with Debian's CNI plugins, and its socket."""
    socket_path = containerd_socket()
    run = os.path.dirname(socket_path)
    os.makedirs(base, exist_ok=True)
    os.makedirs(run, exist_ok=True)
    with open(f"{base}/config.toml", "w", encoding="utf-8") as file:
        file.write(
            _CONTAINERD.format(base=base, run=run, socket=socket_path, pause=pause, plugins=CNI_PLUGINS)
        )
    return ["containerd", "-c", f"{base}/config.toml"], socket_path


@contextmanager
def running_containerd(base: str, pause: str = "pause", prefix: Sequence[str] = ()) -> Iterator[str]:
    """The path of its socket; `prefix` is a command that starts it, as unshare."""
    argv, socket_path = write_containerd_config(base, pause)
    with running([*prefix, *argv], f"{base}/log"):
        await_true(lambda: accepts(socket_path), "containerd answers")
        yield socket_path
