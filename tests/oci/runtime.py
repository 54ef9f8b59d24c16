"""An OCI runtime under test, by its command line, and bundles to run with it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rundlet.oci.spec import example

TIMEOUT_S = 20.0
APPLETS = """sh cat ls id sleep true false echo env pwd mount ps kill head stat readlink touch mkdir ulimit tty hostname
tail grep dd sort cut wc umask tr test seq mknod sed find mkfifo stty nice setsid chmod ip""".split()

Change = Callable[[dict[str, Any]], None]


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str


def find_ours() -> str:
    """The installed command, beside the interpreter that runs the tests."""
    path = os.path.join(os.path.dirname(sys.executable), "rundlet-runtime")
    if not os.path.exists(path):
        pytest.skip("rundlet-runtime is not installed beside this interpreter")
    return path


def find_peer(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not on this host")
    return path


class Runtime:
    """One program with a state directory of its own."""

    def __init__(self, program: str, root: Path) -> None:
        self.program = program
        self.root = root

    def __call__(self, *argv: str, stdin: str | None = None, **options: Any) -> Outcome:
        """Run a command to its end, in files: a detached container keeps our pipes open for ever."""
        self.root.mkdir(exist_ok=True)
        out, err = self.root.parent / "stdout", self.root.parent / "stderr"
        with open(out, "w+b") as stdout, open(err, "w+b") as stderr:
            done = subprocess.run(
                [self.program, "--root", str(self.root), *argv],
                input=None if stdin is None else stdin.encode(),
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=stdout,
                stderr=stderr,
                timeout=TIMEOUT_S,
                check=False,
                **options,
            )
            stdout.seek(0)
            stderr.seek(0)
            return Outcome(
                done.returncode,
                stdout.read().decode(errors="replace"),
                stderr.read().decode(errors="replace"),
            )

    def ok(self, *argv: str, **options: Any) -> str:
        """Its output; a failure shows what it said."""
        outcome = self(*argv, **options)
        assert outcome.code == 0, outcome
        return outcome.stdout

    def state(self, container_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", container_id))
        return found

    def leftovers(self) -> list[str]:
        """Containers below the state directory."""
        return (
            sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))
            if self.root.exists()
            else []
        )


def make_rootfs(directory: Path) -> Path:
    """busybox and a few files."""
    busybox = find_peer("busybox")
    rootfs = directory / "rootfs"
    for name in ("bin", "etc", "tmp", "data", "home/bob"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin/busybox")
    for applet in APPLETS:
        os.link(rootfs / "bin/busybox", rootfs / "bin" / applet)
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\nbob:x:1000:\n")
    (rootfs / "data/file").write_text("data\n")
    (rootfs / "tmp").chmod(0o1777)
    return rootfs


def make_config(*args: str, change: Change | None = None) -> dict[str, Any]:
    """The example configuration without a terminal, of a version that old peers take too."""
    config: dict[str, Any] = json.loads(json.dumps(example(rootless=False)))
    config["ociVersion"] = "1.0.2"
    config["process"].update(terminal=False, args=list(args), env=["PATH=/bin", "TERM=xterm"])
    config["root"]["readonly"] = False
    if change is not None:
        change(config)
    return config


def write_config(bundle: Path, config: dict[str, Any]) -> None:
    (bundle / "config.json").write_text(json.dumps(config))
