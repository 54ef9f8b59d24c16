"""Pods with a user namespace of their own: root inside is nobody outside."""

import os
from pathlib import Path

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.idmap import can_idmap
from rundlet.engine.options import ContainerOptions, IdMapping, Mount, Namespaces, PodOptions, Security

pytestmark = pytest.mark.kernel

FIRST = 200000
MAPPING = (IdMapping(0, FIRST, 65536),)


@pytest.fixture(autouse=True)
def _needs_idmap(tmp_path: Path) -> None:
    if not can_idmap(str(tmp_path), (99, 0)):
        pytest.skip(f"idmapped mounts of {tmp_path} not on this host")


def security(**namespaces: str) -> Security:
    return Security(
        namespaces=Namespaces(user="pod", uid_mappings=MAPPING, gid_mappings=MAPPING, **namespaces)
    )


def run(engine: Engine, image: str, *command: str, mounts: tuple[Mount, ...] = (), **namespaces: str) -> str:
    """Run a pod with one container that only waits; what `command` prints in it."""
    pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n", security=security(**namespaces)))
    options = ContainerOptions(
        name="c", image=image, command=("sleep", "100"), mounts=mounts, security=security(**namespaces)
    )
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    pid = engine.containers.status(container).pid
    assert os.stat(f"/proc/{pid}").st_uid == FIRST
    result = engine.containers.exec_sync(container, command, 10)
    assert result.stderr == b""
    return result.stdout.decode()


@pytest.mark.parametrize("pid", ["pod", "container"])
def test_root_inside_is_another_user_outside(engine: Engine, image: str, pid: str) -> None:
    script = "cat /proc/self/uid_map; id -u; stat -c %u /bin/busybox /etc/passwd; touch /new; stat -c %u /new"
    words = run(engine, image, "sh", "-c", script, pid=pid).split()
    assert words == ["0", str(FIRST), "65536", "0", "0", "0", "0"]


def test_a_volume_is_seen_through_the_same_mapping(engine: Engine, image: str, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "mine").write_text("x")
    mount = Mount("/v", host_path=str(volume), uid_mappings=MAPPING, gid_mappings=MAPPING)
    script = "stat -c %u /v/mine; echo y >/v/new; stat -c %u /v/new"
    assert run(engine, image, "sh", "-c", script, mounts=(mount,), pid="container").split() == ["0", "0"]
    assert (volume / "new").stat().st_uid == 0


def test_the_pods_network_belongs_to_it(engine: Engine, image: str) -> None:
    script = "ip addr show eth0 | grep -o 10.88.0.2; cat /proc/sys/net/ipv4/ip_forward"
    assert run(engine, image, "sh", "-c", script, pid="container").split()[0] == "10.88.0.2"
