"""The engine's use of the network: GC at start, annotations, host ports."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.options import PodOptions, PortMapping
from rundlet.engine.settings import Settings
from rundlet.errors import AlreadyExists

pytestmark = pytest.mark.kernel


@pytest.fixture
def host_ports(settings: Settings) -> Settings:
    """The network maps ports too."""
    path = Path(settings.cni_conf_dir, "10-pods.conflist")
    conf = json.loads(path.read_text())
    conf["plugins"].append({"type": "portmap", "capabilities": {"portMappings": True}})
    path.write_text(json.dumps(conf))
    return settings


def links() -> list[str]:
    return sorted(os.listdir("/sys/class/net"))


def ruleset() -> str:
    return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


def test_start_removes_what_dead_pods_left_on_the_network(host_ports: Settings) -> None:
    """As when the records were lost: the attachment is noted in the cache, and nobody knows the pod."""
    before = links()
    mapping = (PortMapping(container_port=80, host_port=18080),)
    with Engine(host_ports) as engine:
        lost = engine.pods.run(PodOptions(name="lost", port_mappings=mapping))
        kept = engine.pods.run(PodOptions(name="kept"))
        engine._parts.pods.mark_stopped(lost)
        assert "18080" in ruleset()

    with Engine(host_ports) as engine:
        assert "18080" not in ruleset()
        assert engine.pods.status(kept).ips
        assert len(links()) == len(before) + 2  # the bridge and one veth
        for pod in (lost, kept):
            engine.pods.remove(pod)
    assert links() == before


def test_taken_host_port_refuses_the_pod_and_leaves_nothing(host_ports: Settings) -> None:
    before = links()
    mapping = (PortMapping(container_port=80, host_port=18080),)
    with Engine(host_ports) as engine:
        first = engine.pods.run(PodOptions(name="first", port_mappings=mapping))
        with pytest.raises(AlreadyExists, match=f"host port 18080/tcp is taken by pod {first}"):
            engine.pods.run(PodOptions(name="second", port_mappings=mapping))
        engine.pods.remove(first)
        second = engine.pods.run(PodOptions(name="second", port_mappings=mapping))
        engine.pods.remove(second)
    assert links() == before
    assert "hostports" not in ruleset()
