"""The same walk with the real crictl, the tool that kubelet's authors use on any CRI runtime."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from rundlet.cli import walk_check, walk_redis
from rundlet.cli.walk_place import Daemon, Place

pytestmark = [pytest.mark.kernel, pytest.mark.differential, pytest.mark.slow, pytest.mark.timeout(180)]


class Crictl:
    """The program, against one daemon."""

    def __init__(self, program: str, place: Place) -> None:
        endpoint = f"unix://{place.socket}"
        self.argv = (program, "--runtime-endpoint", endpoint, "--image-endpoint", endpoint, "-t", "30s")
        self.daemon = Daemon(place)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            (*self.argv, *arguments), capture_output=True, text=True, check=False, timeout=60, env={}
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture
def crictl(place: Place) -> Iterator[Crictl]:
    program = shutil.which("crictl", path=os.pathsep.join((os.environ["PATH"], "/root/go/bin")))
    if program is None:
        pytest.skip("crictl not on this host")
    run = Crictl(program, place)
    run.daemon.start()
    yield run
    assert run.daemon.stop() == 0


def test_crictl_walks_from_version_to_nothing(place: Place, reference: str, crictl: Crictl) -> None:
    version = crictl("version")
    assert "RuntimeName:  rundlet" in version
    assert "RuntimeApiVersion:  v1" in version

    crictl("pull", reference)
    assert reference.rpartition(":")[0] in crictl("images")

    pod = crictl("runp", place.sandbox_json)
    table = crictl("inspectp", "--output", "table", pod)
    assert "10.88.0.2" in table, table
    assert "group -> test" in table, table
    assert crictl("pods", "-q") == pod

    container = crictl("create", pod, place.container_json, place.sandbox_json)
    assert crictl("ps", "-q") == ""
    crictl("start", container)
    assert crictl("ps", "-q") == container
    assert "CONTAINER_RUNNING" in crictl("inspect", container)

    with walk_redis.connect("10.88.0.2", timeout_s=20) as connection:
        assert walk_redis.ask(connection, "PING") == "+PONG"
        assert walk_redis.ask(connection, "SET walk crictl") == "+OK"
    assert crictl("exec", "--sync", container, "redis-cli", "get", "walk") == "crictl"
    assert crictl("logs", container) != ""
    assert container[:13] in crictl("stats")

    crictl("stop", container)
    assert "CONTAINER_EXITED" in crictl("inspect", container)
    crictl("rm", container)
    crictl("stopp", pod)
    crictl("rmp", pod)
    assert crictl("pods", "-q") == ""
    assert crictl("ps", "--all", "--quiet") == ""


def test_crictl_leaves_no_trace(place: Place, reference: str, crictl: Crictl) -> None:
    scope = walk_check.Scope(place.run_root)
    crictl.daemon.stop()
    before = walk_check.take_traces(scope)
    crictl.daemon.start()
    crictl("pull", reference)
    pod = crictl("runp", place.sandbox_json)
    container = crictl("create", "--no-pull", pod, place.container_json, place.sandbox_json)
    crictl("start", container)
    crictl("rm", "--force", container)
    crictl("rmp", "--force", pod)
    crictl.daemon.stop()
    assert walk_check.await_nothing_left(before, scope, timeout_s=10) == ()
