"""Containers from checkpoints, up to what criu has to do; tests/vm has the rest."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions, Resources
from rundlet.engine.process import plan_create, read_config
from rundlet.engine.settings import Settings
from rundlet.errors import Error, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.registry.client import RegistryClient
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference
from tests.engine.conftest import add_file, describe

pytestmark = pytest.mark.kernel

BIND = {"destination": "/etc/hosts", "type": "bind", "source": "/elsewhere/hosts"}
PROCESS = {"args": ["sleep", "5"], "cwd": "/tmp", "env": ["A=1", "B=x=y"], "user": {"uid": 0, "gid": 0}}


@pytest.fixture
def restorer(settings: Settings, image: str) -> Iterator[Engine]:
    with Engine(replace(settings, checkpoints="checkpoint_restore")) as engine:
        engine.images.pull(image)
        yield engine
        for pod in engine.pods.list():
            engine.pods.remove(pod.id)


def checkpoint_tar(image: str, mounts: tuple[dict, ...] = (BIND,)) -> bytes:
    """A checkpoint whose memory is nothing that criu knows."""
    diff = io.BytesIO()
    with tarfile.open(fileobj=diff, mode="w") as archive:
        add_file(archive, "tmp/mine", b"kept")
    dump = {"id": "x" * 64, "name": "c", "rootfsImage": "", "rootfsImageRef": "", "rootfsImageName": image}
    files = {
        "config.dump": json.dumps(dump | {"createdTime": "", "checkpointedTime": ""}).encode(),
        "spec.dump": json.dumps({"ociVersion": "1.0.2", "process": PROCESS, "mounts": list(mounts)}).encode(),
        "rootfs-diff.tar": diff.getvalue(),
        "deleted.files": b'["/etc/group"]',
        "container.log": b"2026-01-01T00:00:00Z stdout F before\n",
        "checkpoint/inventory.img": b"nothing",
        "checkpoint/descriptors.json": b'["", "", ""]',
    }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, data in files.items():
            add_file(archive, name, data)
    return raw.getvalue()


@pytest.fixture
def location(tmp_path: Path, image: str) -> str:
    path = tmp_path / "checkpoint.tar"
    path.write_bytes(checkpoint_tar(image))
    return str(path)


def push_checkpoint(address: str, layer: bytes) -> str:
    reference = parse_reference(f"{address}/checkpoint:1")
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer))]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(layer, "application/vnd.oci.image.layer.v1.tar")],
        "annotations": {"org.criu.checkpoint.container.name": "c"},
    }
    client = RegistryClient()
    for blob in (config, layer):
        client.push_blob(reference, Digest.of(blob), blob)
    client.push_manifest(reference, json.dumps(manifest).encode(), manifest["mediaType"])
    client.close()
    return str(reference)


def create(engine: Engine, image: str) -> str:
    pod = engine.pods.run(PodOptions("p", log_directory=f"{engine.settings.root}/logs"))
    return engine.containers.create(pod, ContainerOptions("c", image, log_path="c.log"))


def checkpoints_of(engine: Engine) -> list[str]:
    path = f"{engine.settings.root}/checkpoints"
    return os.listdir(path) if os.path.exists(path) else []


def test_it_must_be_allowed(engine: Engine, location: str) -> None:
    with pytest.raises(Unimplemented, match="not made from checkpoints"):
        create(engine, location)


def assert_waits(engine: Engine, container: str) -> None:
    status = engine.containers.status(container)
    assert (status.state, status.pid) == ("created", 0)
    config = engine.containers.config(container)
    assert (config.process.args, config.process.cwd) == (["sleep", "5"], "/tmp")
    assert {"A=1", "B=x=y"} <= set(config.process.env)
    rootfs = Path(engine.settings.containers_dir, container, "rootfs")
    assert (rootfs / "tmp/mine").read_text() == "kept"
    assert (rootfs / "etc/passwd").exists()
    assert not (rootfs / "etc/group").exists()
    assert Path(status.log_path).read_text().endswith("before\n")


def test_files_and_words_are_the_checkpoints(restorer: Engine, location: str) -> None:
    container = create(restorer, location)
    assert_waits(restorer, container)
    restorer.containers.remove(container)
    assert checkpoints_of(restorer) == []
    assert restorer.settings.containers_dir not in Path("/proc/self/mounts").read_text()


def test_an_image_may_be_a_checkpoint(restorer: Engine, registry: str, image: str) -> None:
    reference = push_checkpoint(registry, checkpoint_tar(image))
    restorer.images.pull(reference)
    assert_waits(restorer, create(restorer, reference))


def test_it_waits_over_a_restart(restorer: Engine, location: str) -> None:
    container = create(restorer, location)
    with Engine(restorer.settings) as second:
        assert_waits(second, container)
        second.containers.stop(container, 0)
        assert second.containers.status(container).state == "exited"


def test_what_criu_cannot_restore_is_told(restorer: Engine, location: str) -> None:
    container = create(restorer, location)
    with pytest.raises(Error, match="criu"):
        restorer.containers.start(container)
    status = restorer.containers.status(container)
    assert (status.state, status.reason) == ("exited", "StartError")
    restorer.containers.remove(container)
    assert checkpoints_of(restorer) == []


def test_a_checkpoint_that_cannot_be_leaves_nothing(restorer: Engine, tmp_path: Path, image: str) -> None:
    volume = {"destination": "/data/mine", "type": "bind", "source": "/srv"}
    cases = {
        "mounts": (checkpoint_tar(image, (BIND, volume)), InvalidArgument, "needs a mount at /data/mine"),
        "image": (checkpoint_tar("absent:1"), NotFound, "'absent:1' of the checkpoint is not on this node"),
        "junk": (b"junk", InvalidArgument, "junk"),
    }
    for name, (raw, kind, text) in cases.items():
        (tmp_path / name).write_bytes(raw)
        pod = restorer.pods.run(PodOptions(name))
        with pytest.raises(kind, match=text):
            restorer.containers.create(pod, ContainerOptions("c", str(tmp_path / name)))
    with pytest.raises((NotFound, FailedPrecondition)):
        restorer.containers.create(pod, ContainerOptions("c", str(tmp_path / "absent")))
    assert restorer.containers.list() == []
    assert checkpoints_of(restorer) == []


def test_limits_may_be_changed_before_it_is_restored(restorer: Engine, location: str) -> None:
    container = create(restorer, location)
    devices = restorer.containers.config(container).linux.resources.devices
    assert devices
    restorer.containers.update_resources(container, Resources(memory_limit_bytes=64 << 20, cpu_shares=77))
    resources = restorer.containers.config(container).linux.resources
    assert (resources.memory.limit, resources.cpu.shares, resources.devices) == (64 << 20, 77, devices)
    assert restorer.containers.status(container).options.resources.cpu_shares == 77


def test_one_that_was_restored_and_not_recorded_is_found_running(
    restorer: Engine, settings: Settings, location: str
) -> None:
    """As when the daemon dies after criu has done: the keeper has the process, the record none."""
    container = create(restorer, location)
    parts, bundle = restorer._parts, f"{settings.containers_dir}/{container}"
    parts.keeper.create(plan_create(parts, container, read_config(bundle), bundle, None))
    parts.keeper.start(container)
    settings = restorer.settings
    with Engine(settings) as again:
        status = again.containers.status(container)
        assert status.state == "running"
        assert status.pid == parts.keeper.state(container).pid > 0
        assert checkpoints_of(again) == []
