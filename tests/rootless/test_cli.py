"""The command line as an ordinary user."""

import os
import subprocess

import pytest

from tests.rootless.conftest import UID, User, find_python
from tests.rootless.test_machine import image

__all__ = ["image"]

pytestmark = pytest.mark.kernel


def test_commands_of_one_user_see_each_others_containers(user: User, image: str) -> None:
    def rundlet(*words: str) -> str:
        done = subprocess.run(
            ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups",
             find_python(), "-m", "rundlet.cli.main", *words],
            env=user.environ, cwd=user.home,
            text=True, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert rundlet("run", "--rm", "--network", "none", image, "id", "-u") == "0\n"
    rundlet("run", "-d", "--network", "none", "--name", "web", image, "sleep", "600")
    assert "web" in rundlet("ps")
    assert rundlet("exec", "web", "cat", "/proc/1/cmdline").startswith("sleep")
    rundlet("rm", "-f", "web")
    assert "web" not in rundlet("ps", "-a")
    assert os.listdir(user.home / ".local/share/rundlet/snapshots") == []


@pytest.mark.usefixtures("ranges")
def test_the_user_keeps_the_own_id_inside(user: User, image: str) -> None:
    def run(*words: str) -> str:
        command = user.command("-m", "rundlet.cli.main", "run", "--rm", "--network", "none", *words)
        done = subprocess.run(
            command, env=user.environ, cwd=user.home, text=True, capture_output=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    script = ("sh", "-c", "id -u; id -g; echo x > /tmp/mine; stat -c %u /bin/busybox /tmp/mine")
    assert run("--userns", "keep-id", image, *script).split() == [str(UID), str(UID), "0", str(UID)]
    assert run("--userns", "auto:size=2000", image, *script).split() == ["0", "0", "0", "0"]
