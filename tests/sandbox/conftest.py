"""A machine of its own, and an image with a Python interpreter, whose ctypes can try any system call."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from rundlet.engine.settings import Settings
from rundlet.local.machine import Machine
from rundlet.local.settings import MachineSettings, Places
from rundlet.sandbox.sandbox import Sandbox
from tests.engine.conftest import make_layer, push, registry
from tests.local.conftest import machine, machine_settings
from tests.rootless.conftest import give_ranges, open_user

__all__ = ["machine", "machine_settings", "registry"]

MakeSandbox = Callable[..., Sandbox]
PYTHON = "/usr/bin/python3"
_SKIPPED = {
    "test",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "__pycache__",
    "site-packages",
    "dist-packages",
    "distutils",
}


def _choose(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _SKIPPED & set(Path(info.name).parts) else info


def _list_libraries(*programs: str) -> list[str]:
    text = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True, timeout=10).stdout
    found = (word for line in text.splitlines() for word in line.split() if word.startswith("/"))
    return sorted({path.rstrip(":") for path in found if not path.endswith(":")})


def make_python_layer() -> bytes:
    """This host's own interpreter with its library and what both are linked with."""
    program = Path(PYTHON).resolve()
    library = Path(f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}")
    if not program.exists() or not library.is_dir():
        pytest.skip("python3 of the distribution not on this host")
    modules = [str(path) for path in library.glob("lib-dynload/_ctypes*.so")]
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.add(program, "usr/bin/python3")
        archive.add(library, str(library).lstrip("/"), filter=_choose)
        for path in _list_libraries(str(program), *modules):
            archive.add(Path(path).resolve(), path.lstrip("/"))
    return raw.getvalue()


@pytest.fixture(scope="session")
def image(registry: str) -> str:
    busybox = make_layer(Path("/bin/busybox").read_bytes())
    config = {"Cmd": ["sh"], "Env": ["PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"]}
    push(registry, "python:latest", busybox, config, make_python_layer())
    return f"{registry}/python:latest"


@pytest.fixture(scope="module", params=["root", "user with ranges", "user with one id"])
def anyone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Machine]]:
    """Who it is, and a machine of theirs: root's is in this process, an ordinary user's in one of that user."""
    top = tmp_path_factory.mktemp("anyone")
    with ExitStack() as stack:
        if request.param == "root":
            places = Places(str(top / "root"), str(top / "run"), str(top / "config"))
            settings = Settings(
                root=places.root, run_root=places.run_root, default_cgroup_parent="/escape-test"
            )
            machine = stack.enter_context(Machine(MachineSettings(places, settings)))
        else:
            if "ranges" in request.param:
                stack.enter_context(give_ranges(top))
            user = stack.enter_context(open_user())
            machine = cast("Machine", stack.enter_context(user.machine()))
        yield request.param, machine


@pytest.fixture
def sandbox(machine: Machine, image: str) -> Iterator[MakeSandbox]:
    """Makes sandboxes that end with the test."""
    with ExitStack() as stack:
        yield lambda source=image, **given: stack.enter_context(Sandbox(source, machine=machine, **given))
