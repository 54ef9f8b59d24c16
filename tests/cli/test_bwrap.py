"""`rundlet bwrap --dry-run`: the command it prints is one that runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACES = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]


def write_bundle(directory: Path, **process: object) -> Path:
    """A bundle whose root is the host's /, read-only."""
    document = {
        "ociVersion": "1.2.0",
        "root": {"path": "/", "readonly": True},
        "process": {"cwd": "/", "args": ["sh", "-c", "echo $WORD; hostname; echo $$"], **process},
        "hostname": "box",
        "mounts": [{"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]}],
        "linux": {"namespaces": NAMESPACES, "maskedPaths": ["/proc/kcore"]},
    }
    (directory / "config.json").write_text(json.dumps(document))
    return directory


def rundlet(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "rundlet.cli.main", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_what_cannot_be_mapped_is_one_line(tmp_path):
    bundle = write_bundle(tmp_path, rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])
    done = rundlet("bwrap", "--dry-run", str(bundle))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rundlet: process.rlimits: bubblewrap cannot do this\n"


def test_a_bundle_that_is_none(tmp_path):
    done = rundlet("bwrap", "--dry-run", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"rundlet: cannot read {tmp_path}/config.json: ")


@pytest.mark.kernel
def test_the_printed_command_runs(tmp_path):
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap not on this host")
    bundle = write_bundle(tmp_path, env=["WORD=it's $HOME", "PATH=/usr/bin:/bin"])
    command = rundlet("bwrap", "--dry-run", str(bundle)).stdout
    done = subprocess.run(["sh"], input=command, capture_output=True, text=True, check=True)
    assert done.stdout == "it's $HOME\nbox\n1\n"
