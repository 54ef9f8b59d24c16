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
