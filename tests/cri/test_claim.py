"""Two daemons on one root or run root."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet.cri.claim import claim
from rundlet.engine.engine import Engine
from rundlet.engine.settings import Settings
from rundlet.errors import AlreadyExists
from tests.cri.node import start_daemon

HOLDER = """
import sys, time
from rundlet.cri.claim import claim
with claim(sys.argv[1]):
    print("holds", flush=True)
    time.sleep(100)
"""


def test_the_second_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    told = rf"\(pid {os.getpid()}\) uses {tmp_path}"
    with claim(str(tmp_path)), pytest.raises(AlreadyExists, match=told), claim(str(tmp_path)):
        pass


def test_nothing_is_left_of_a_claim(tmp_path: Path) -> None:
    with claim(str(tmp_path / "run")):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_dead_daemons_claim_does_not_count(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(AlreadyExists, match=str(holder.pid)), claim(str(tmp_path)):
            pass
        holder.kill()
    with claim(str(tmp_path)):
        assert (tmp_path / "rundletd.lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.kernel
@pytest.mark.parametrize("shared", ["root", "run"])
def test_a_second_daemon_with_a_socket_of_its_own_is_refused(tmp_path: Path, shared: str) -> None:
    daemon = start_daemon(tmp_path)
    try:
        own = {"root": str(tmp_path / "root2"), "run": str(tmp_path / "run2")} | {
            shared: str(tmp_path / shared)
        }
        argv = [sys.executable, "-m", "rundlet.cri.daemon", "--socket", str(tmp_path / "second.sock")]
        argv += ["--root", own["root"], "--run-root", own["run"], "--cni-conf", str(tmp_path / "net.d")]
        second = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 1
        assert f"another rundletd (pid {daemon.process.pid}) uses {tmp_path}/{shared}" in second.stderr
        assert not (tmp_path / "second.sock").exists()
    finally:
        assert daemon.stop() == 0
    assert not (tmp_path / "run" / "rundletd.lock").exists()


@pytest.mark.kernel
def test_an_engine_beside_the_daemon_is_welcome(tmp_path: Path) -> None:
    daemon = start_daemon(tmp_path)
    settings = Settings(
        root=str(tmp_path / "root"), run_root=str(tmp_path / "run"), cni_conf_dir=str(tmp_path / "net.d")
    )
    try:
        with Engine(settings) as engine:
            assert engine.pods.list() == []
    finally:
        assert daemon.stop(signal.SIGTERM) == 0


@pytest.mark.kernel
def test_a_daemon_without_pods_leaves_no_directories_for_them(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path / "root"), run_root=str(tmp_path / "run"))
    with Engine(settings):
        os.makedirs(settings.pods_dir)
        os.makedirs(settings.containers_dir)
    assert not os.path.exists(settings.pods_dir)
    assert not os.path.exists(settings.containers_dir)
