"""A machine with places of its own, and a busybox image in a registry on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.engine.settings import Settings
from rundlet.local.machine import Machine
from rundlet.local.options import NetworkChoice, RunOptions
from rundlet.local.settings import MachineSettings, Places
from tests.engine.conftest import conf_list, registry

__all__ = ["registry"]


@pytest.fixture
def machine_settings(tmp_path: Path) -> MachineSettings:
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    (conf_dir / "10-pods.conflist").write_text(json.dumps(conf_list(str(tmp_path / "leases"))))
    places = Places(str(tmp_path / "root"), str(tmp_path / "run"), str(tmp_path / "config"))
    engine = Settings(
        root=places.root,
        run_root=places.run_root,
        cni_conf_dir=str(conf_dir),
        cni_cache_dir=str(tmp_path / "cni"),
        networks_dir=f"{places.config_dir}/networks",
        default_cgroup_parent="/local-test",
    )
    return MachineSettings(places, engine)


@pytest.fixture
def machine(machine_settings: MachineSettings) -> Iterator[Machine]:
    """What a test leaves behind is removed."""
    with Machine(machine_settings) as machine:
        yield machine
        for pod in machine.engine.pods.list():
            machine.engine.pods.remove(pod.id)


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/busybox:latest"


@pytest.fixture
def asked(image: str) -> RunOptions:
    """A container without a network, whose program sleeps."""
    return RunOptions(image=image, command=("sleep", "600"), network=NetworkChoice(mode="none"))
