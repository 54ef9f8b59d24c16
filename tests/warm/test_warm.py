"""The command line through a warm process: as if the front had done it itself."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rundlet.warm.front import SOCKET
from rundlet.warm.modules import Loaded

FRONT = (sys.executable, "-c", "from rundlet.warm.front import main; main()")
SERVER = (sys.executable, "-P", "-c", "import sys; from rundlet.warm.server import main; main(sys.argv[1:])")
PATIENCE_S = 10.0

Front = Callable[..., "subprocess.CompletedProcess[str]"]


def await_listener(path: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(path)
            except OSError:
                assert time.monotonic() < deadline_s, "the warm process does not listen"
                os.sched_yield()
            else:
                return


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "RUNDLET_RUN_ROOT": str(tmp_path), "RUNDLET_WARM": "30"}


@pytest.fixture
def server(tmp_path: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    path = f"{tmp_path}/{SOCKET}"
    with subprocess.Popen([*SERVER, path], env=environment) as process:
        await_listener(path)
        yield process
        process.kill()


@pytest.fixture
def call(environment: dict[str, str]) -> Front:
    def run(*words: str, cwd: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
        env = {**environment, **variables}
        return subprocess.run([*FRONT, *words], env=env, cwd=cwd, capture_output=True, text=True, check=False)

    return run


def test_output_and_exit_code_come_back(server: "subprocess.Popen[bytes]", call: Front) -> None:
    assert server.poll() is None
    version, wrong = call("--version"), call("nosuch", "")
    assert version.stdout.startswith("rundlet, version")
    assert version.returncode == 0
    assert wrong.returncode == 2
    assert "No such command 'nosuch'" in wrong.stderr


def test_the_caller_waits_for_a_child_of_the_warm_process(
    server: "subprocess.Popen[bytes]", call: Front
) -> None:
    """What was imported once is there: the same process answers, and has not ended."""
    call("ps", "--help")
    with open(f"/proc/{server.pid}/maps", encoding="utf-8") as maps:
        assert "msgspec" in maps.read()
    assert server.poll() is None


def test_a_relative_path_is_the_callers(
    server: "subprocess.Popen[bytes]", call: Front, tmp_path: Path
) -> None:
    assert server.poll() is None
    (tmp_path / "here").mkdir()
    done = call("image", "inspect", "oci:nothing-here", cwd=tmp_path / "here")
    assert "nothing-here" in done.stderr
    assert done.returncode == 1


def test_variables_are_the_callers(server: "subprocess.Popen[bytes]", call: Front) -> None:
    assert server.poll() is None
    assert "_RUNDLET_COMPLETE" in call(_RUNDLET_COMPLETE="bash_source").stdout


def test_another_locale_is_not_answered_by_the_warm_process(
    server: "subprocess.Popen[bytes]", call: Front
) -> None:
    assert server.poll() is None
    assert call("--version", LC_ALL="C").returncode == 0


def test_a_killed_warm_process_is_not_missed(server: "subprocess.Popen[bytes]", call: Front) -> None:
    server.kill()
    server.wait()
    assert call("--version").returncode == 0


def test_a_second_one_leaves_at_once(
    server: "subprocess.Popen[bytes]", tmp_path: Path, environment: dict[str, str]
) -> None:
    assert server.poll() is None
    subprocess.run([*SERVER, f"{tmp_path}/{SOCKET}"], env=environment, check=True, timeout=PATIENCE_S)


def test_it_leaves_when_its_socket_is_removed(server: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    (tmp_path / SOCKET).unlink()
    assert server.wait(PATIENCE_S) == 0


def test_it_leaves_when_its_time_is_over(tmp_path: Path, environment: dict[str, str]) -> None:
    path = f"{tmp_path}/{SOCKET}"
    done = subprocess.run([*SERVER, path], env={**environment, "RUNDLET_WARM": "0.1"}, check=True, timeout=30)
    assert done.returncode == 0
    assert not os.path.exists(path)


def test_a_changed_file_makes_it_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Loaded()
    loaded.load(())
    assert not loaded.is_outdated()
    file = tmp_path / "module.py"
    file.write_text("")
    monkeypatch.setitem(loaded._changed_ns, str(file), file.stat().st_mtime_ns)
    assert not loaded.is_outdated()
    file.unlink()
    assert loaded.is_outdated()
