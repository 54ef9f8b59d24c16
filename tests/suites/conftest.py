"""What the suites need: the fixtures of rundlet.pytest on places of their own, and images made of this host's programs."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.api.client import Client
from rundlet.engine.settings import Settings
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.local.settings import MachineSettings, Places
from rundlet.pytest import container, module_container, sandbox, session_container
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer
from tests.engine.conftest import push

__all__ = ["container", "module_container", "sandbox", "session_container"]

POSTGRES = Path("/usr/lib/postgresql")
_START = """#!/bin/sh
set -e
test -d "$PGDATA/base" || initdb -U postgres -A trust >/dev/null
exec postgres -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
"""


@pytest.fixture(scope="session")
def rundlet_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    top = tmp_path_factory.mktemp("suites")
    places = Places(str(top / "root"), str(top / "run"), str(top / "config"))
    settings = Settings(root=places.root, run_root=places.run_root, default_cgroup_parent="/suites-test")
    with Client(settings=MachineSettings(places, settings)) as client:
        yield client
        for pod in client.machine.engine.pods.list():
            client.machine.engine.pods.remove(pod.id)


@pytest.fixture(scope="session")
def local_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RegistryServer(str(tmp_path_factory.mktemp("registry")))
    server.start()
    yield server.address
    server.stop()


@pytest.fixture(scope="session")
def redis_image(local_registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server not on this host")
    layout = Layout(str(tmp_path_factory.mktemp("redis")))
    build_host_image(["redis-server", "redis-cli"], layout, "redis")
    client = RegistryClient()
    push_image(layout, "redis", client, f"{local_registry}/redis:host")
    client.close()
    return f"{local_registry}/redis:host"


@pytest.fixture(scope="session")
def postgres_image(local_registry: str) -> str:
    """Debian's own server with its libraries, a shell and a start script; it runs as user postgres (1000)."""
    found = sorted(POSTGRES.glob("*/bin/postgres"))
    if not found or shutil.which("busybox") is None:
        pytest.skip("postgresql or busybox not on this host")
    layer = _pack_postgres(found[-1].parent.parent)
    config = {
        "User": "1000:1000",
        "Env": [f"PATH={found[-1].parent}:/usr/bin:/bin", "LC_ALL=C"],
        "Entrypoint": ["/start"],
    }
    return push(local_registry, "postgres:host", layer, config)


def _pack_postgres(top: Path) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, mode in (
            ("bin", 0o755),
            ("etc", 0o755),
            ("tmp", 0o1777),
            ("var/lib/pg", 0o777),
            ("proc", 0o755),
            ("sys", 0o755),
            ("dev", 0o755),
        ):
            _add_directory(archive, name, mode)
        archive.add(Path("/bin/busybox").resolve(), "bin/busybox")
        for applet in ("sh", "test", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        _add_text(archive, "start", _START, 0o755)
        _add_text(archive, "etc/passwd", "root:x:0:0::/:/bin/sh\npostgres:x:1000:1000::/:/bin/sh\n")
        _add_text(archive, "etc/group", "root:x:0:\npostgres:x:1000:\n")
        programs = [top / "bin" / name for name in ("postgres", "initdb", "psql")]
        libraries = list(top.glob("lib/*.so"))
        archive.add(top, str(top).lstrip("/"))
        share = Path("/usr/share/postgresql") / top.name
        archive.add(share, str(share).lstrip("/"))
        archive.add("/usr/share/zoneinfo", "usr/share/zoneinfo")
        for path in _list_libraries([*programs, *libraries]):
            archive.add(Path(path).resolve(), path.lstrip("/"))
    return raw.getvalue()


def _list_libraries(programs: list[Path]) -> list[str]:
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False, timeout=30)
    words = (word for line in done.stdout.splitlines() for word in line.split())
    return sorted({word for word in words if word.startswith("/") and not word.endswith(":")})


def _add_directory(archive: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    archive.addfile(info)


def _add_text(archive: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text.encode()), mode
    archive.addfile(info, io.BytesIO(text.encode()))
