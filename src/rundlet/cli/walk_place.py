"""The walk's own corner of the machine, and the daemon in it.

    <base>/
      registry/          the loopback registry's files
      root/              rundletd --root
      run/               rundletd --run-root, with rundlet.sock
      net.d/             10-mynet.conf, 99-loopback.conf
      logs/              the pod's log_directory
      config.toml        rundletd --config
      rundletd.log       what the daemon says
      sandbox_config.json, container_redis.json

`rundlet walk` prints the folder's name; everything that a step's command names lies in it.
"""

import contextlib
import importlib.resources
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Literal, Self

from rundlet.errors import DeadlineExceeded, Unavailable

Plugins = Literal["builtin", "debian"]

_CONF_FILES = ("10-mynet.conf", "99-loopback.conf")
_READY_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.01


class Place:
    """Paths of one walk; `with` removes them all, unless they are to be kept."""

    def __init__(self, base: str, *, keep: bool) -> None:
        self.base = base
        self.keep = keep
        self.registry_dir = f"{base}/registry"
        self.root = f"{base}/root"
        self.run_root = f"{base}/run"
        self.conf_dir = f"{base}/net.d"
        self.log_dir = f"{base}/logs"
        self.socket = f"{self.run_root}/rundlet.sock"
        self.config = f"{base}/config.toml"
        self.daemon_log = f"{base}/rundletd.log"
        self.sandbox_json = f"{base}/sandbox_config.json"
        self.container_json = f"{base}/container_redis.json"

    @classmethod
    def make(cls, *, keep: bool, base: str = "") -> "Place":
        """A new folder under the temporary directory, or the one another process made."""
        place = cls(base or tempfile.mkdtemp(prefix="rundlet-walk-"), keep=keep)
        for path in (place.registry_dir, place.root, place.run_root, place.conf_dir, place.log_dir):
            os.makedirs(path, exist_ok=True)
        return place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.keep:
            shutil.rmtree(self.base, ignore_errors=True)

    def write_network(self) -> None:
        for name in _CONF_FILES:
            write_text(f"{self.conf_dir}/{name}", read_sample(name))

    def write_pod(self, image: str) -> None:
        """The two sample files with this walk's log folder and image filled in."""
        sandbox = json.loads(read_sample("sandbox_config.json"))
        sandbox["log_directory"] = self.log_dir
        container = json.loads(read_sample("container_redis.json"))
        container["image"]["image"] = image
        write_json(self.sandbox_json, sandbox)
        write_json(self.container_json, container)

    def write_config(self, plugins: Plugins) -> None:
        """Debian's plugins: nothing built in, every type by its binary."""
        write_text(self.config, "cni_builtin = []\n" if plugins == "debian" else "")

    def daemon_argv(self) -> list[str]:
        return [
            "rundletd", "--socket", self.socket, "--root", self.root, "--run-root", self.run_root,
            "--cni-conf", self.conf_dir, "--cni-bin", "/usr/lib/cni", "--config", self.config,
        ]  # fmt: skip


def read_sample(name: str) -> str:
    return importlib.resources.files("rundlet.cli").joinpath("walk_data", name).read_text("utf-8")


def write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path: str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


class Daemon:
    """rundletd as a child process; its words go to the place's rundletd.log."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """The pid, once the socket accepts connections."""
        argv = [sys.executable, "-m", "rundlet.cri.daemon", *self.place.daemon_argv()[1:]]
        with open(self.place.daemon_log, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._await_socket(self.process)
        return self.process.pid

    def _await_socket(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not accepts(self.place.socket):
            if process.poll() is not None:
                raise Unavailable(f"rundletd ended with {process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline_s:
                raise DeadlineExceeded(
                    f"rundletd opened no socket in {_READY_TIMEOUT_S:.0f} s: {self.last_words()}"
                )
            time.sleep(_POLL_S)

    def last_words(self) -> str:
        with open(self.place.daemon_log, encoding="utf-8", errors="replace") as log:
            lines = log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> int:
        """End it politely, then firmly; its exit code."""
        process = self.process
        if process is None:
            return 0
        self.process = None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
