"""The daemon as a service manager sees it: readiness, reload, stop."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.systemd import notify

pytestmark = pytest.mark.kernel


class Manager:
    """Hears what a service says with sd_notify(3)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(path)
        self._sock.settimeout(20)

    def hear(self) -> str:
        """The first line of the next message."""
        return self._sock.recv(4096).decode().split("\n")[0]

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(f"{tmp_path}/notify")
    yield manager
    manager.close()


def handlers_of(address: str) -> set[str]:
    with Client(f"unix://{address}") as client:
        return {handler.name for handler in client.runtime.Status(api.StatusRequest()).runtime_handlers}


def test_ready_reload_and_stop_are_told(manager, tmp_path):
    config = tmp_path / "rundlet.toml"
    top = f'root = "{tmp_path}/root"\nrun_root = "{tmp_path}/run"\nsocket = "{tmp_path}/sock"\n'
    config.write_text(top)
    environment = os.environ | {"NOTIFY_SOCKET": manager.path}
    argv = [sys.executable, "-m", "rundlet.cri.daemon", "--config", str(config)]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert manager.hear() == "READY=1"
            before = handlers_of(f"{tmp_path}/sock")
            for text in ('[runtimes.mine]\npath = "true"', '[runtimes.mine]\npath = "no-such-program"'):
                config.write_text(top + text)
                daemon.send_signal(signal.SIGHUP)
                assert [manager.hear(), manager.hear()] == ["RELOADING=1", "READY=1"]
                assert handlers_of(f"{tmp_path}/sock") == before | {"mine"}
        finally:
            daemon.terminate()
        assert manager.hear() == "STOPPING=1"
        assert daemon.stderr is not None
        assert "runtimes.mine.path: there is no program 'no-such-program'" in daemon.stderr.read()
    assert daemon.returncode == 0


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket"])
def test_nobody_listens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_an_abstract_socket(monkeypatch):
    manager = Manager("\0rundlet-test-notify")
    monkeypatch.setenv("NOTIFY_SOCKET", "@rundlet-test-notify")
    notify("READY=1", "STATUS=fine")
    assert manager.hear() == "READY=1"
    manager.close()
