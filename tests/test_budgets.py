"""What a program imports before it does its work: how many modules, and which it must do without.

Counts, not times, so that the answer is the same on every machine.  A program that grew over its budget has a new
import: make it a late one, or raise the number in the commit that says why.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = str(ROOT / "src")
_IMPORT = re.compile(r"^import time: +\d+ \| +\d+ \| +([\w.]+)$", re.MULTILINE)
_CLI = ("-c", "from rundlet.cli.main import main; main()")
_DAEMON = ("-c", "from rundlet.cri.daemon import main; main()")
_LEAN = f"import sys; sys.path.insert(0, {SOURCE!r}); from rundlet import lean; lean.install(); "

# What no program of people's needs at its start: each is 10 ms and more.
HEAVY = (
    "asyncio",
    "cryptography",
    "email",
    "grpc",
    "google.protobuf",
    "http",
    "rich",
    "unittest",
    "urllib.request",
    "yaml",
)


class Budget(NamedTuple):
    """`most` modules at all, rundlet's and the standard library's, and none of `never` or below it."""

    most: int
    never: tuple[str, ...]


def check(imported: set[str], budget: Budget) -> None:
    banned = sorted(
        name for name in imported if any(f"{name}.".startswith(f"{one}.") for one in budget.never)
    )
    assert not banned, f"imported, and must not be: {', '.join(banned)}"
    assert len(imported) <= budget.most, f"{len(imported)} modules, at most {budget.most} are in the budget"


def imports_of(*arguments: str, env: dict[str, str] | None = None) -> set[str]:
    """What Python tells of its imports (-X importtime), the interpreter's own left out; the program must succeed."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, _IMPORT.sub("", done.stderr)
    return set(_IMPORT.findall(done.stderr)) - interpreter_itself(arguments[:2])


def interpreter_itself(flags: tuple[str, ...]) -> set[str]:
    own = tuple(flag for flag in flags if flag in {"-I", "-S"})
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *own, "-c", ""], capture_output=True, text=True, check=True
    )
    return set(_IMPORT.findall(done.stderr))


# --- what needs no node ------------------------------------------------------


def test_import_rundlet_imports_nothing() -> None:
    check(imports_of("-c", "import rundlet"), Budget(1, HEAVY))


def test_the_version_is_told_by_click_alone() -> None:
    never = (
        "rundlet.engine",
        "rundlet.store",
        "rundlet.local",
        "rundlet.registry",
        "msgspec",
        "sqlite3",
        "ssl",
    )
    check(imports_of(*_CLI, "--version"), Budget(88, (*HEAVY, *never)))


def test_the_anchor_has_a_handful_of_modules() -> None:
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); import rundlet.keeper.anchor"
    never = ("typing", "socket", "enum", "ctypes", "json", "re", "subprocess", "threading", "logging")
    check(imports_of("-I", "-S", "-c", code), Budget(20, (*HEAVY, *never)))


def test_the_supervisor_does_without_packages() -> None:
    never = (
        "rundlet.spec",
        "rundlet.store",
        "rundlet.registry",
        "rundlet.engine",
        "msgspec",
        "sqlite3",
        "inspect",
        "logging",
    )
    check(
        imports_of("-I", "-S", "-c", f"{_LEAN}import rundlet.keeper.supervisor"),
        Budget(115, (*HEAVY, *never)),
    )


def test_the_minder_waits_without_the_engine() -> None:
    never = ("rundlet.engine", "rundlet.store", "rundlet.spec", "msgspec", "sqlite3", "inspect", "logging")
    check(imports_of("-I", "-S", "-c", f"{_LEAN}import rundlet.local.minder"), Budget(27, (*HEAVY, *never)))


def test_the_runtime_starts_with_the_standard_library_alone() -> None:
    never = (
        "rundlet.engine",
        "rundlet.store",
        "msgspec",
        "sqlite3",
        "inspect",
        "logging",
        "subprocess",
        "threading",
    )
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); from rundlet.oci.entry import main; main()"
    check(imports_of("-I", "-S", "-c", code, "--version"), Budget(68, (*HEAVY, *never)))


# --- what makes or looks at containers: in a node --------------------------------


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Places with one image, localhost/tools:1."""
    if shutil.which("busybox") is None:
        pytest.skip("busybox not on this host")
    places = tmp_path_factory.mktemp("budget")
    environ = os.environ | {
        "RUNDLET_ROOT": f"{places}/root",
        "RUNDLET_RUN_ROOT": f"{places}/run",
        "RUNDLET_CONFIG_DIR": f"{places}/config",
        "RUNDLET_WARM": "0",
    }
    archive = f"oci-archive:{places}/image.tar:localhost/tools:1"
    for words in (("image", "from-host", "-t", archive, "true", "sh"), ("pull", "-q", archive)):
        subprocess.run(
            [sys.executable, *_CLI, *words], env=environ, capture_output=True, check=True, timeout=50
        )
    return environ


def image_of(environ: dict[str, str]) -> str:
    asked = [sys.executable, *_CLI, "images", "-q"]
    return subprocess.run(asked, env=environ, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.kernel
def test_ps_lists_without_what_makes_containers(environ: dict[str, str]) -> None:
    never = ("rundlet.kube", "rundlet.cri.proto", "rundlet.api", "ssl")
    check(imports_of(*_CLI, "ps", env=environ), Budget(535, (*HEAVY, *never)))


@pytest.mark.kernel
def test_run_starts_without_registries_and_tables(environ: dict[str, str]) -> None:
    never = ("rundlet.kube", "rundlet.cri.proto", "rundlet.api", "ssl")
    words = ("run", "--rm", "--network", "none", image_of(environ), "true")
    check(imports_of(*_CLI, *words, env=environ), Budget(550, (*HEAVY, *never)))


@pytest.mark.kernel
def test_the_daemon_serves_without_the_command_line(tmp_path: Path) -> None:
    never = (
        "rich",
        "yaml",
        "unittest",
        "rundlet.cli",
        "rundlet.local",
        "rundlet.kube",
        "rundlet.api",
    )  # grpc brings asyncio
    sock = f"{tmp_path}/rundlet.sock"
    words = ("--socket", sock, "--root", f"{tmp_path}/root", "--run-root", f"{tmp_path}/run")
    with (
        open(f"{tmp_path}/imports", "w+b") as told,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        notified.bind(f"{tmp_path}/notify")
        notified.settimeout(30)
        daemon = subprocess.Popen(
            [sys.executable, "-X", "importtime", *_DAEMON, *words],
            stderr=told,
            env=os.environ | {"NOTIFY_SOCKET": f"{tmp_path}/notify"},
        )
        try:
            while b"READY=1" not in notified.recv(4096):  # sd_notify(3)
                pass
        finally:
            daemon.terminate()
            daemon.wait(20)
        told.seek(0)
        imported = set(_IMPORT.findall(told.read().decode()))
    check(imported - interpreter_itself(()), Budget(700, never))
