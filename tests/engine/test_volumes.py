"""Image volumes: another image's files in a container."""

from pathlib import Path

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, Mount, PodOptions
from rundlet.errors import Error, FailedPrecondition, InvalidArgument, NotFound
from tests.engine.conftest import make_layer, push

pytestmark = pytest.mark.kernel


def start(engine: Engine, image: str, mount: Mount) -> str:
    pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n"))
    options = ContainerOptions(name="c", image=image, command=("sleep", "100"), mounts=(mount,))
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    return container


def test_the_files_are_there_and_cannot_be_changed(engine: Engine, image: str) -> None:
    container = start(engine, image, Mount("/volume", image=image))
    run = engine.containers.exec_sync
    assert run(container, ["cat", "/volume/etc/passwd"], 10).stdout.startswith(b"root:")
    assert run(container, ["/volume/bin/busybox", "true"], 10).exit_code == 0
    assert b"Read-only" in run(container, ["touch", "/volume/new"], 10).stderr
    status = engine.containers.status(container)
    assert status.volumes == {"/volume": status.image_ref}
    engine.containers.remove(container)
    assert "/volumes/" not in Path("/proc/self/mounts").read_text()


def test_a_path_below_the_image(engine: Engine, image: str) -> None:
    container = start(engine, image, Mount("/volume", image=image, image_sub_path="etc"))
    assert engine.containers.exec_sync(container, ["ls", "/volume"], 10).stdout.split() == [
        b"group",
        b"passwd",
    ]


@pytest.mark.parametrize(
    ("mount", "error"),
    [
        (Mount("/v", image="absent:1"), NotFound),
        (Mount("/v", image="IMAGE", image_sub_path="no/such"), InvalidArgument),
        (Mount("/v", image="IMAGE", image_sub_path="../etc"), InvalidArgument),
        (Mount("/v", image="IMAGE", host_path="/tmp"), InvalidArgument),
        (Mount("/v", image="IMAGE", propagation="bidirectional"), InvalidArgument),
    ],
)
def test_a_volume_that_cannot_be_leaves_nothing(
    engine: Engine, image: str, mount: Mount, error: type[Error]
) -> None:
    if mount.image == "IMAGE":
        mount = Mount(
            mount.container_path,
            image=image,
            image_sub_path=mount.image_sub_path,
            host_path=mount.host_path,
            propagation=mount.propagation,
        )
    pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n"))
    with pytest.raises(error):
        engine.containers.create(
            pod, ContainerOptions(name="c", image=image, command=("true",), mounts=(mount,))
        )
    assert engine.containers.list() == []
    containers = Path(engine.settings.containers_dir)
    assert not containers.exists() or list(containers.iterdir()) == []
    assert "/volumes/" not in Path("/proc/self/mounts").read_text()


def test_the_files_of_an_image_in_use_as_a_volume_stay(engine: Engine, image: str, registry: str) -> None:
    other = push(registry, "other:1", make_layer(b"#!/bin/true\n"), {})
    engine.images.pull(other)
    container = start(engine, image, Mount("/volume", image=other))
    with pytest.raises(FailedPrecondition):
        engine.images.remove(other)
    assert b"true" in engine.containers.exec_sync(container, ["cat", "/volume/bin/busybox"], 10).stdout


def test_the_kubelet_knows_a_volume_that_cannot_be_mounted(engine: Engine, image: str) -> None:
    pod = engine.pods.run(PodOptions(name="p"))
    for mount in (Mount("/v", image="absent:1"), Mount("/v", image=image, image_sub_path="no/such")):
        with pytest.raises(Error, match="^ImageVolumeMountFailed: mounts"):
            engine.containers.create(pod, ContainerOptions(name="c", image=image, mounts=(mount,)))
