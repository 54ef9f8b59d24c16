"""A machine of its own on which the names of the pages' images lead to a registry on loopback."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.errors import NotFound
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer

_IMAGES = {"alpine:latest": ["busybox"], "redis:alpine": ["redis-server", "redis-cli"]}


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with the images of the pages, made of this host's own programs; its address."""
    for program in ("busybox", "redis-server", "redis-cli"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} not on this host")
    top = tmp_path_factory.mktemp("mirror")
    server = RegistryServer(str(top / "registry"))
    server.start()
    client = RegistryClient()
    for name, programs in _IMAGES.items():
        layout = Layout(str(top / name.replace(":", "-")))
        try:
            build_host_image(programs, layout, "made", cmd=("sh",) if "busybox" in programs else ())
        except NotFound as error:
            pytest.skip(str(error))
        push_image(layout, "made", client, f"{server.address}/library/{name}")
    client.close()
    yield server.address
    server.stop()


@pytest.fixture
def environment(tmp_path: Path, mirror: str) -> dict[str, str]:
    """RUNDLET_* for places of its own; docker.io is the mirror."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "registries.conf").write_text(
        f'[[registry]]\nprefix = "docker.io"\nlocation = "{mirror}"\ninsecure = true\n'
    )
    (config / "rundlet.toml").write_text(
        f'registries_conf = "{config}/registries.conf"\ndefault_cgroup_parent = "/docs-test"\n'
    )
    bin_dir = Path(sys.executable).parent
    return {
        "PATH": f"{bin_dir}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path),
        "RUNDLET_ROOT": str(tmp_path / "root"),
        "RUNDLET_RUN_ROOT": str(tmp_path / "run"),
        "RUNDLET_CONFIG_DIR": str(config),
    }


@pytest.fixture
def leftovers(environment: dict[str, str]) -> Iterator[None]:
    """What a page leaves behind is removed."""
    yield
    program = (
        "from rundlet.local.machine import Machine\n"
        "with Machine() as machine:\n"
        "    for pod in machine.engine.pods.list(): machine.engine.pods.remove(pod.id)\n"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=60)
