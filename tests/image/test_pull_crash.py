"""Pulls that are killed, and pulls in several processes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from rundlet.image.pull import pull_image
from rundlet.spec.digest import Digest
from rundlet.spec.image import chain_ids
from rundlet.store.store import Store
from tests.archive.trees import describe, directory, make_tar, member
from tests.image.conftest import push

PROGRAM = """
import sys
from rundlet.image.pull import pull_image
from rundlet.registry.client import RegistryClient
from rundlet.store.store import Store
store = Store.open(sys.argv[1], sys.argv[2])
print("open", flush=True)
image = pull_image(store, RegistryClient(), sys.argv[3])
print(image.id, image.layers, flush=True)
store.close()
"""


def make_layers(count, files, seed):
    chance = random.Random(seed)
    return [
        make_tar(
            directory(f"layer{number}"),
            *(
                member(f"layer{number}/d{index % 7}/f{index}", chance.randbytes(chance.randint(0, 60_000)))
                for index in range(files)
            ),
        )
        for number in range(count)
    ]


def start_pull(tmp_path, reference, before=()):
    arguments = [
        *before,
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "root"),
        str(tmp_path / "run"),
        reference,
    ]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_consistent(store, layers):
    """There is no image, or all of it; whatever else there is belongs to a pull that can go on."""
    digests = [str(Digest.of(layer)) for layer in layers]
    for image in store.images.list():
        assert image.config.rootfs.diff_ids == tuple(digests)
        assert all(os.path.isdir(store.layers.path(layer)) for layer in image.layers)
    with store.database.read() as connection:
        rows = dict(connection.execute("SELECT id, chain_id FROM layers").fetchall())
        blobs = [row[0] for row in connection.execute("SELECT digest FROM blobs")]
    on_disk = {name for name in os.listdir(f"{store.root}/layers") if name.isdigit()}
    assert on_disk == set(map(str, rows))
    assert set(rows.values()) <= set(chain_ids(digests))
    present = os.listdir(f"{store.root}/blobs/sha256")
    assert {f"sha256:{name}" for name in present} <= set(blobs)
    for name in present:
        with open(f"{store.root}/blobs/sha256/{name}", "rb") as file:
            assert Digest.of(file.read()).hex == name


def assert_whole(store, image, layers, tmp_path):
    """Every layer directory holds what its tar says."""
    for number, (layer_id, layer) in enumerate(zip(image.layers, layers, strict=True)):
        expected = tmp_path / f"expected-{number}"
        if not expected.exists():
            (tmp_path / "layer.tar").write_bytes(layer)
            with tarfile.open(tmp_path / "layer.tar") as archive:
                archive.extractall(expected)
        found = describe(store.layers.path(layer_id), times=False)
        assert {path: facts.get("content") for path, facts in found.items()} == {
            path: facts.get("content") for path, facts in describe(expected, times=False).items()
        }


@pytest.mark.slow
def test_a_pull_killed_at_any_moment_leaves_the_image_or_nothing(tmp_path, registry, client):
    layers = make_layers(4, 60, seed=1)
    reference = f"{registry.address}/crio/redis:1"
    push(client, reference, layers)
    chance = random.Random(2)
    outcomes = []
    for _ in range(10):
        with start_pull(tmp_path, reference) as child:
            assert child.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0, 0.12))
            child.send_signal(signal.SIGKILL)
            child.communicate()
        store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
        assert_consistent(store, layers)
        images = store.images.list()
        outcomes.append(len(images))
        if images:
            assert_whole(store, images[0], layers, tmp_path)
            store.images.remove(images[0].id)
        store.close()
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    assert_whole(store, pull_image(store, client, reference), layers, tmp_path)
    assert_consistent(store, layers)
    assert os.listdir(f"{store.root}/ingest") == []
    store.close()
    assert 0 in outcomes, "no child was killed before its image was there"


@pytest.mark.slow
def test_processes_that_pull_the_same_share_the_work(tmp_path, registry, client):
    layers = make_layers(3, 40, seed=3)
    reference = f"{registry.address}/crio/redis:1"
    push(client, reference, layers)
    children = [start_pull(tmp_path, reference) for _ in range(3)]
    results = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], results
    assert len({out for out, _ in results}) == 1
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    assert_consistent(store, layers)
    assert_whole(store, store.images.list()[0], layers, tmp_path)
    store.close()
    assert os.listdir(tmp_path / "run") == []


@pytest.mark.slow
def test_one_process_goes_on_when_another_that_it_waits_for_is_killed(tmp_path, registry, client):
    layers = make_layers(3, 60, seed=4)
    reference = f"{registry.address}/crio/redis:1"
    push(client, reference, layers)
    with start_pull(tmp_path, reference) as first, start_pull(tmp_path, reference) as second:
        assert first.stdout.readline() == second.stdout.readline() == "open\n"
        time.sleep(0.03)
        first.send_signal(signal.SIGKILL)
        _, errors = second.communicate()
        first.communicate()
    assert second.returncode == 0, errors
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    assert_whole(store, store.images.list()[0], layers, tmp_path)
    store.close()


@pytest.mark.slow
def test_a_pull_and_a_removal_in_two_processes(tmp_path, registry, client):
    """The one that removes never takes away what the other is building on."""
    layers = make_layers(3, 20, seed=5)
    reference = f"{registry.address}/crio/redis:1"
    push(client, reference, layers)
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    for _ in range(3):
        image = pull_image(store, client, reference)
        with start_pull(tmp_path, reference) as child:
            assert child.stdout.readline() == "open\n"
            store.images.remove(image.id)
            _, errors = child.communicate()
        assert child.returncode == 0, errors
        for found in store.images.list():
            assert_whole(store, found, layers, tmp_path)
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("call", ["rename", "pwrite64", "unlink", "mkdir"])
def test_a_pull_killed_at_every_publishing_call(tmp_path, registry, client, call):
    """SIGKILL by the tracer at the 1st, 2nd, 3rd … such system call of a thread, until a pull gets through."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not on this host")
    layers = make_layers(2, 5, seed=6)
    reference = f"{registry.address}/crio/redis:1"
    push(client, reference, layers)
    killed = 0
    for when in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 1000):
        inject = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
        inject += ["-e", f"inject={call}:signal=KILL:when={when}"]
        child = start_pull(tmp_path, reference, inject)
        _, errors = child.communicate()
        store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
        assert_consistent(store, layers)
        images = store.images.list()
        for image in images:
            assert_whole(store, image, layers, tmp_path)
        store.close()
        if child.returncode == 0:
            assert images
            break
        assert child.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, errors
        killed += 1
    assert killed
    assert child.returncode == 0
