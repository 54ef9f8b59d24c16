"""Containers of images that other processes pull, prune and mend, and of images that are kept elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.settings import Settings
from rundlet.errors import NotFound, PermissionDenied
from rundlet.image.pull import pull_image
from rundlet.image.repair import repair_store
from rundlet.image.supply import Supply
from rundlet.registry.access import Registries
from rundlet.registry.client import RegistryClient
from rundlet.store.check import check_places, check_store
from rundlet.store.store import Places, Store
from tests.image import storming

pytestmark = pytest.mark.kernel
ROUNDS = 4


def run_container(engine: Engine, pod: str, reference: str, name: str) -> str:
    """A container that runs; its image is pulled again when it has been pruned meanwhile."""
    for _ in range(20):
        try:
            image = engine.images.pull(reference)
            container = engine.containers.create(
                pod, ContainerOptions(name=name, image=image.id, command=("sleep", "60"))
            )
        except NotFound:
            continue
        engine.containers.start(container)
        return container
    raise AssertionError("the image was pruned each time")


def read(engine: Engine, container: str, path: str) -> bytes:
    return engine.containers.exec_sync(container, ["cat", path]).stdout


@pytest.mark.slow
def test_containers_run_while_other_processes_pull_and_prune(empty_engine: Engine, registry: str) -> None:
    engine, reference = empty_engine, f"{registry}/busybox:latest"
    places = engine._parts.store.places
    command = [sys.executable, "-m", storming.__name__, places.root, places.run]
    pod = engine.pods.run(PodOptions(name="busy"))
    workers = [
        subprocess.Popen([*command, str(seed), reference], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for seed in range(2)
    ]
    try:
        for number in range(ROUNDS):
            for worker in workers:
                assert worker.stdout.read(2), worker.stderr.read().decode()
            container = run_container(engine, pod, reference, f"c{number}")
            assert read(engine, container, "/etc/group").startswith(b"root:x:0:")
            engine.containers.remove(container)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    engine.pods.remove(pod)
    engine._parts.store.tidy()
    assert check_store(engine._parts.store, read_data=True) == ()


def test_a_layer_is_mended_under_a_container_that_runs(empty_engine: Engine, registry: str) -> None:
    engine, reference = empty_engine, f"{registry}/busybox:latest"
    store = engine._parts.store
    pod = engine.pods.run(PodOptions(name="mended"))
    container = run_container(engine, pod, reference, "first")
    layer = store.layers.path(engine.images.list()[0].layers[0])
    os.chmod(f"{layer}/etc/group", 0o600)
    registries = Registries()
    assert repair_store(store.places, Supply(registries)).left == ()
    registries.close()
    assert os.stat(f"{layer}/etc/group").st_mode & 0o777 == 0o644
    assert read(engine, container, "/etc/passwd").startswith(b"root:x:0:")
    second = run_container(engine, pod, reference, "second")
    assert read(engine, second, "/etc/group").startswith(b"root:x:0:")
    engine.pods.remove(pod)
    store.tidy()
    assert sorted(os.listdir(os.path.dirname(layer))) == ["1", "1.json", "1.list"]


def test_a_container_of_an_image_in_a_separate_image_store(
    settings: Settings, registry: str, tmp_path: Path
) -> None:
    with Engine(replace(settings, imagestore=str(tmp_path / "images"))) as engine:
        pod = engine.pods.run(PodOptions(name="elsewhere"))
        container = run_container(engine, pod, f"{registry}/busybox:latest", "c")
        assert read(engine, container, "/etc/passwd").startswith(b"root:x:0:")
        assert [each.mountpoint for each in engine.images.fs_info()] == [str(tmp_path / "images")]
        assert [each.mountpoint for each in engine.images.container_fs_info()] == [settings.root]
        engine.pods.remove(pod)
    assert not os.path.exists(f"{settings.root}/layers")


def test_a_container_of_an_image_in_an_additional_store(
    settings: Settings, registry: str, tmp_path: Path
) -> None:
    """Nothing is copied, and nothing is fetched: the registry is not asked."""
    lender = Store.open(str(tmp_path / "lender"), str(tmp_path / "lender-run"))
    client = RegistryClient()
    image = pull_image(lender, client, f"{registry}/busybox:latest")
    client.close()
    lender.close()
    with Engine(replace(settings, additional_image_stores=(str(tmp_path / "lender"),))) as engine:
        pod = engine.pods.run(PodOptions(name="borrowed"))
        options = ContainerOptions(name="c", image=image.names[0], command=("sleep", "60"))
        container = engine.containers.create(pod, options)
        engine.containers.start(container)
        assert read(engine, container, "/etc/passwd").startswith(b"root:x:0:")
        assert engine._parts.store.usage() == (0, 0)
        engine.pods.remove(pod)
    assert check_places(Places(settings.root, settings.run_root)) == ()


def test_stores_registries_policies_and_pins_change_while_it_runs(
    settings: Settings, registry: str, tmp_path: Path
) -> None:
    lender = Store.open(str(tmp_path / "lender"), str(tmp_path / "lender-run"))
    client = RegistryClient()
    name = pull_image(lender, client, f"{registry}/busybox:latest").names[0]
    client.close()
    lender.close()
    (tmp_path / "registries.conf").write_text(
        f'[[registry]]\nprefix = "quay.invalid/team"\nlocation = "{registry}"\n'
    )
    (tmp_path / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    borrowing = replace(
        settings, additional_image_stores=(str(tmp_path / "lender"),), pinned_images=("*busybox*",)
    )
    rewritten = replace(settings, registries_conf=str(tmp_path / "registries.conf"))
    with Engine(settings) as engine:
        assert engine.images.status(name) is None
        engine.reload(borrowing)
        image = engine.images.status(name)
        assert image
        assert image.pinned
        with pytest.raises(NotFound, match="additional store"):
            engine.reload(replace(rewritten, additional_image_stores=(str(tmp_path / "none"),)))
        assert engine.images.status(name)  # and nothing else has changed
        assert engine._parts.registries.places.registries_conf != rewritten.registries_conf
        engine.reload(rewritten)
        assert engine.images.status(name) is None
        assert engine.images.pull("quay.invalid/team/busybox:latest").names == (
            "quay.invalid/team/busybox:latest",
        )
        engine.reload(replace(rewritten, signature_policy=str(tmp_path / "policy.json")))
        with pytest.raises(PermissionDenied, match="refused by the policy"):
            engine.images.pull("quay.invalid/team/busybox:latest")
    assert check_places(Places(settings.root, settings.run_root), read_data=True) == ()
