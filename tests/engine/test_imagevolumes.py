"""VOLUMEs that an image declares."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, Mount, PodOptions
from rundlet.engine.settings import Settings
from rundlet.errors import InvalidArgument
from tests.engine.conftest import make_layer, push

pytestmark = pytest.mark.kernel

VOLUMES = {"/srv/a b/deep": {}, "/tmp": {}, "/data/": {}}


@pytest.fixture(scope="module")
def volume_image(registry: str) -> str:
    layer = make_layer(Path(shutil.which("busybox") or "").read_bytes())
    return push(registry, "volumes:1", layer, {"Cmd": ["sleep", "100"], "Volumes": VOLUMES})


@pytest.fixture
def engine_with(settings: Settings, volume_image: str) -> Iterator:
    """Makes an engine with one kind of image volumes."""
    made: list[Engine] = []

    def make(kind: str) -> Engine:
        engine = Engine(replace(settings, image_volumes=kind))
        made.append(engine)
        engine.images.pull(volume_image)
        return engine

    yield make
    for engine in made:
        for pod in engine.pods.list():
            engine.pods.remove(pod.id)
        engine.close()


def start(engine: Engine, image: str, **fields: object) -> str:
    pod = engine.pods.run(PodOptions("p"))
    container = engine.containers.create(pod, ContainerOptions("c", image, **fields))
    engine.containers.start(container)
    return container


def run(engine: Engine, container: str, script: str) -> str:
    done = engine.containers.exec_sync(container, ["sh", "-c", script], 10)
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode()


def test_a_missing_directory_is_made(engine_with, volume_image: str) -> None:
    engine = engine_with("mkdir")
    container = start(engine, volume_image)
    assert run(engine, container, "stat -c '%a %u' '/srv/a b/deep' /srv /tmp") == "755 0\n755 0\n1777 0\n"
    run(engine, container, "touch '/srv/a b/deep/x'")
    assert "/srv" not in run(engine, container, "cat /proc/self/mounts")


def test_bound_volumes_go_with_the_container(engine_with, volume_image: str, tmp_path: Path) -> None:
    engine = engine_with("bind")
    mine = tmp_path / "mine"
    mine.mkdir()
    container = start(engine, volume_image, mounts=(Mount("/data", host_path=str(mine)),))
    assert run(engine, container, "stat -c '%a' '/srv/a b/deep' /tmp") == "755\n1777\n"
    run(engine, container, "touch '/srv/a b/deep/x' /tmp/y /data/z")
    assert os.listdir(mine) == ["z"]
    kept = Path(engine.settings.root, "volumes", container)
    assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == ["x", "y"]
    engine.containers.remove(container)
    assert not kept.exists()


def test_ignored_volumes_are_not_there(engine_with, volume_image: str) -> None:
    engine = engine_with("ignore")
    container = start(engine, volume_image)
    assert engine.containers.exec_sync(container, ["ls", "/srv"], 10).exit_code != 0


def test_a_file_in_the_way_of_a_volume_leaves_nothing(engine_with, registry: str) -> None:
    engine = engine_with("mkdir")
    layer = make_layer(Path(shutil.which("busybox") or "").read_bytes())
    image = push(registry, "odd:1", layer, {"Cmd": ["sh"], "Volumes": {"/etc/passwd/below": {}}})
    engine.images.pull(image)
    pod = engine.pods.run(PodOptions("p"))
    with pytest.raises(InvalidArgument, match="/etc/passwd/below"):
        engine.containers.create(pod, ContainerOptions("c", image))
    assert engine.containers.list() == []
    assert engine.settings.containers_dir not in Path("/proc/self/mounts").read_text()
