"""Containers of commands that a warm process lends itself to: what podman's users see is the same."""

import os
import signal
import subprocess

import pytest

from rundlet.warm.front import SOCKET, SWITCH
from tests.cli.local.test_verbs import IMAGE, host, image_archive
from tests.warm.test_warm import FRONT, SERVER, await_listener

__all__ = ["host", "image_archive"]
pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def front(host):
    """Begins commands that go through a warm process beside `host`."""
    run_root = host.environ["RUNDLET_RUN_ROOT"]
    env = {**host.environ, SWITCH: "60"}
    path = f"{run_root}/{SOCKET}"
    with subprocess.Popen([*SERVER, path], env=env) as server:
        await_listener(path)
        yield lambda *words, **more: subprocess.Popen(
            [*FRONT, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
        )
        assert server.poll() is None
        server.kill()


def run(front, *words, **more):
    return front("run", "--rm", "--network", "none", IMAGE, *words, **more)


def test_streams_and_exit_code_come_through(front):
    with run(front, "sh", "-c", "echo out; echo err >&2; exit 7") as child:
        assert child.communicate(timeout=30) == (b"out\n", b"err\n")
    assert child.returncode == 7


def test_ctrl_c_reaches_the_container(front, host):
    script = "trap 'exit 5' INT; echo ready; while :; do busybox sleep 0.05; done"
    with run(front, "sh", "-c", script) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 5
    assert host.rundlet("ps", "-aq").stdout == ""


def test_a_stopped_front_stops_its_command(front):
    """ctrl-z and fg."""
    script = "echo ready; busybox sleep 0.2; echo done"
    with run(front, "sh", "-c", script) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        child.send_signal(signal.SIGCONT)
        assert child.wait(30) == 0


def test_a_killed_front_is_a_killed_command(front, host):
    """As when the command itself is killed: the minder removes what --rm says."""
    with run(front, "sh", "-c", "echo ready; busybox sleep 0.3") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.kill()
    names = host.rundlet("ps", "-q").stdout.split()
    for name in names:
        host.rundlet("wait", name)
