"""An ordinary user of the node: number 12345, with directories of its own and no right over the host."""

import contextlib
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rundlet.engine.settings import Settings
from rundlet.kernel import mount
from rundlet.local.outside import OutsideMachine
from rundlet.local.settings import MachineSettings, find_places, usual_settings
from tests.engine.conftest import registry

__all__ = ["registry"]

UID = 12345
NAME = "somebody"
SOURCE = Path(__file__).parents[2] / "src"
_BEGIN = """
import json, os, sys
sys.path.insert(0, {source!r})
from rundlet.errors import Error
def tell(value): print("told", json.dumps(value), flush=True)
"""


def is_reachable(path: str) -> bool:
    """Whether everybody may look into all directories above it."""
    parents = Path(path).resolve().parents
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in parents)


def find_python() -> str:
    """An interpreter that an ordinary user may start: this one, or the distribution's of the same version."""
    if is_reachable(sys.executable):
        return sys.executable
    usual = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if not os.path.exists(usual):
        pytest.skip(
            f"{sys.executable} is out of an ordinary user's reach on this host, and there is no {usual}"
        )
    return usual


def python_path() -> str:
    """What the interpreter of `find_python` needs to find the project and what it depends on."""
    places = [str(SOURCE), *(path for path in sys.path if path.endswith("site-packages"))]
    if not all(map(is_reachable, (f"{place}/." for place in places))):
        pytest.skip("the project is out of an ordinary user's reach on this host")
    return ":".join(places)


class User:
    """Runs Python programs; what they `tell` is their answer."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        self.home = home
        self.environ = environ
        self._started: list[subprocess.Popen[str]] = []

    def command(self, *words: str) -> list[str]:
        """`words` for an interpreter that is this user's."""
        become = [shutil.which("setpriv") or "", "--reuid", str(UID), "--regid", str(UID), "--clear-groups"]
        return [*become, find_python(), *words]

    def words(self, program: str) -> list[str]:
        return self.command("-c", _BEGIN.format(source=str(SOURCE)) + program)

    def machine(self) -> OutsideMachine:
        """This user's, driven from here."""
        places = find_places(self.environ, UID)
        settings = MachineSettings(places, Settings(**usual_settings(places, UID)))
        environ = [f"{name}={value}" for name, value in self.environ.items()]
        inside = "import sys; from rundlet.local.outside import main; main(int(sys.argv[1]))"
        return OutsideMachine(settings, ["env", "-i", *environ, *self.command("-c", inside)])

    def start(self, program: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.words(program),
            env=self.environ | more,
            cwd=self.home,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """Nothing of the user's runs on: the node has no other process of that number."""
        for process in self._started:
            with process:
                process.kill()
        while left := list(_open_processes()):
            for fd in left:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                select.select([fd], [], [], 5)
                os.close(fd)

    def run(self, program: str, **more: str) -> list[Any]:
        """What it told; a program that fails fails the test."""
        process = self.start(program, **more)
        output, complaint = process.communicate(timeout=30)
        assert process.returncode == 0, output + complaint
        return [json.loads(line[5:]) for line in output.splitlines() if line.startswith("told ")]


def _open_processes() -> Iterator[int]:
    """pidfds of what lives with the user's number; a child of pid 1 that has ended is gone at once."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            status = Path("/proc", name, "status").read_text()
            if f"\nUid:\t{UID}\t" in status and "State:\tZ" not in status:
                yield os.pidfd_open(int(name))
        except OSError:
            continue


@contextmanager
def open_user() -> Iterator[User]:
    """pytest's own directories are closed to other users."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv not on this host")
    home = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
    for path in (home, home / "run"):
        path.mkdir(exist_ok=True)
        os.chown(path, UID, UID)
        path.chmod(0o700)
    environ = {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": python_path(),
    }
    user = User(home, environ)
    process = user.start("import rundlet")
    if process.communicate()[1]:
        pytest.skip("another user cannot read this source tree and its environment")
    try:
        yield user
    finally:
        user.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def user() -> Iterator[User]:
    with open_user() as user:
        yield user


@pytest.fixture
def tun(tmp_path: Path) -> Iterator[None]:
    """/dev/net/tun open to everybody, as distributions have it, for this node alone."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("/dev/net/tun not on this host")
    node = tmp_path / "tun"
    os.mknod(node, 0o020666, os.makedev(10, 200))
    node.chmod(0o666)
    mount.mount(str(node), "/dev/net/tun", None, mount.MS_BIND)
    yield
    mount.umount("/dev/net/tun", mount.MNT_DETACH)


@contextmanager
def give_ranges(directory: Path) -> Iterator[None]:
    """The user has a name, and 65536 ids from 200000 on."""
    if shutil.which("newuidmap") is None:
        pytest.skip("newuidmap not on this host")
    passwd = Path("/etc/passwd").read_text() + f"{NAME}:x:{UID}:{UID}::/:/bin/sh\n"
    texts = {"passwd": passwd, "subuid": f"{NAME}:200000:65536\n", "subgid": f"{NAME}:200000:65536\n"}
    for name, text in texts.items():
        if not os.path.exists(f"/etc/{name}"):
            pytest.skip(f"/etc/{name} not on this host")
        (directory / name).write_text(text)
        mount.mount(str(directory / name), f"/etc/{name}", None, mount.MS_BIND)
    try:
        yield
    finally:
        for name in texts:
            mount.umount(f"/etc/{name}", mount.MNT_DETACH)


@pytest.fixture
def ranges(tmp_path: Path) -> Iterator[None]:
    with give_ranges(tmp_path):
        yield
