"""The main job, as a user starts it: `rundlet walk`, with our plugins and with Debian's."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(180)]

PLUGINS = Path("/usr/lib/cni/bridge")


def run_walk(*options: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server not on this host")
    argv = [sys.executable, "-m", "rundlet.cli.main", "walk", *options]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=170, stdin=subprocess.DEVNULL
    )


def assert_whole_walk(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RuntimeName:  rundlet" in done.stdout
    assert "RuntimeApiVersion:  v1" in done.stdout
    assert "IP Address: 10.88.0.2" in done.stdout
    assert "PING -> +PONG" in done.stdout
    assert "GET walk -> rundlet" in done.stdout
    assert re.search(r"^    \S+T\S+ stdout F .*", done.stdout, re.MULTILINE), "no CRI log line"
    assert done.stdout.rstrip().endswith("nothing is left")


def test_walk_with_builtin_plugins() -> None:
    assert_whole_walk(run_walk())


def test_walk_with_a_named_image(reference: str) -> None:
    """It is fetched outside the node, whose network ends at its own loopback."""
    done = run_walk("--image", reference)
    assert_whole_walk(done)
    assert f"fetching {reference}" in done.stdout


def test_a_missing_image_is_one_clear_line() -> None:
    done = run_walk("--image", "127.0.0.1:1/no/such:image")
    assert done.returncode == 1
    assert done.stderr.startswith("rundlet: ")
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.differential
def test_walk_with_debian_plugins() -> None:
    if not PLUGINS.exists():
        pytest.skip("containernetworking-plugins not on this host")
    assert_whole_walk(run_walk("--plugins", "debian"))
