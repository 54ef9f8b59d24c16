"""Every verb, one by one, against rundletd: what the README tells a reader to type."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]


@pytest.fixture
def runtime(tmp_path):
    """(endpoint, image) of a daemon of its own."""
    from rundlet.registry.server import RegistryServer
    from tests.cri.node import publish_busybox, start_daemon

    registry = RegistryServer(str(tmp_path / "registry"))
    registry.start()
    daemon = start_daemon(tmp_path)
    yield daemon.endpoint, publish_busybox(registry.address, tmp_path)
    assert daemon.stop() == 0
    registry.stop()


@pytest.fixture
def shell(runtime, tmp_path):
    def call(*arguments, code=0):
        argv = [sys.executable, "-m", "rundlet.cli.main", "-r", runtime[0], *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout.strip()

    return call


@pytest.fixture
def files(runtime, tmp_path):
    pod = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "attempt": 1},
        "log_directory": str(tmp_path / "logs"),
        "labels": {"group": "test"},
        "dns_config": {"servers": ["192.0.2.1"], "searches": ["shop.example"]},
        "linux": {"security_context": {"namespace_options": {"network": 0, "pid": 1}}},
    }
    container = {
        "metadata": {"name": "loop"},
        "image": {"image": runtime[1]},
        "command": [
            "busybox",
            "sh",
            "-c",
            "trap 'echo bye; exit 0' TERM; echo $GREETING; while :; do sleep 0.05; done",
        ],
        "envs": [{"key": "GREETING", "value": "hello"}],
        "log_path": "loop.log",
        "linux": {"resources": {"memory_limit_in_bytes": 33554432}},
    }
    for name, config in (("pod.json", pod), ("container.json", container)):
        (tmp_path / name).write_text(json.dumps(config))
    return str(tmp_path / "pod.json"), str(tmp_path / "container.json")


def test_from_pull_to_nothing_left(shell, runtime, files, tmp_path):
    assert "RuntimeName:  rundlet" in shell("version")
    image_id = shell("pull", runtime[1]).removeprefix("Image is up to date for ")
    assert shell("images", "-q") == image_id
    pod_id = shell("runp", files[0])
    table = shell("inspectp", "--output", "table", pod_id[:10]).splitlines()
    assert table[:6] == [
        f"ID: {pod_id}", "Name: web", "UID: u-1", "Namespace: shop", "Attempt: 1", "Status: SANDBOX_READY"
    ]  # fmt: skip
    assert any(line.startswith("IP Address: 10.88.") for line in table)

    container_id = shell("create", pod_id, files[1], files[0])
    assert shell("start", container_id) == container_id
    assert shell("ps", "-q") == container_id
    status = json.loads(shell("inspect", container_id))
    assert status["status"]["state"] == "CONTAINER_RUNNING"
    assert status["status"]["resources"]["linux"]["memoryLimitInBytes"] == "33554432"
    assert "nameserver 192.0.2.1" in shell("exec", container_id, "cat", "/etc/resolv.conf")
    shell("exec", container_id, "sh", "-c", "exit 3", code=3)
    assert container_id[:13] in shell("stats", "--seconds", "0")
    assert shell("update", "--memory", "67108864", container_id) == container_id
    assert "running" in shell("rm", container_id, code=1)

    assert shell("stop", "--timeout", "10", container_id) == container_id
    assert shell("logs", container_id) == "hello\nbye"
    assert shell("logs", "--tail", "1", container_id) == "bye"
    assert json.loads(shell("inspect", container_id))["status"]["exitCode"] == 0
    shell("rm", container_id)
    assert not os.path.exists(tmp_path / "logs/loop.log")
    shell("stopp", pod_id)
    shell("rmp", pod_id)
    assert (shell("pods", "-q"), shell("ps", "-a", "-q")) == ("", "")
    assert shell("rmi", "--prune").startswith("Deleted: ")
    assert shell("images", "-q") == ""


def test_failures_reach_the_shell_as_one_line(shell, files):
    for arguments, text in (
        (("pull", "127.0.0.1:1/nothing"), "RegistryUnavailable"),
        (("inspectp", "abc"), "abc"),
        (("start", "abc"), "abc"),
        (("exec", "abc", "true"), "abc"),
    ):
        error = shell(*arguments, code=1)
        assert error.startswith("rundlet: ")
        assert text in error.splitlines()[0]
        assert "Traceback" not in error


def test_a_pods_name_conflict_is_told(shell, files):
    pod_id = shell("runp", files[0])
    assert "shop/web" in shell("runp", files[0], code=1)
    assert shell("rmp", "--force", pod_id).splitlines() == [
        f"Stopped sandbox {pod_id}",
        f"Removed sandbox {pod_id}",
    ]
