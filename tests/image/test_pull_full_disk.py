"""Pulls into a file system that is too small, at every stage of the pull; builds, bundles and repairs as well."""

import os
import random

import pytest

from rundlet.cli.main import run
from rundlet.errors import ResourceExhausted
from rundlet.image.pull import pull_image
from rundlet.image.repair import repair_store
from rundlet.kernel.mount import mount, umount
from rundlet.store.store import Places, Store
from tests.archive.trees import make_tar, member
from tests.image.conftest import push

pytestmark = pytest.mark.kernel


def make_layer(seed, files, size):
    chance = random.Random(seed)
    return make_tar(*(member(f"{seed}/f{index}", chance.randbytes(size)) for index in range(files)))


@pytest.mark.parametrize(
    ("size_kib", "inodes"),
    [(700, 0), (900, 0), (1300, 0), (1900, 0), (2600, 0), (8000, 40), (8000, 120)],
    ids=str,
)
def test_nothing_is_left_and_there_is_room_again(tmp_path, client, registry, size_kib, inodes):
    """The image takes 3.2 MB with its blobs, and 160 files: less, and it does not fit."""
    push(client, f"{registry.address}/crio/big:1", [make_layer(1, 80, 10_000), make_layer(2, 80, 10_000)])
    push(client, f"{registry.address}/crio/small:1", [make_layer(3, 1, 100)])
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={size_kib}k" + (f",nr_inodes={inodes}" if inodes else "")
    mount("tmpfs", str(disk), "tmpfs", data=options)
    try:
        store = Store.open(str(disk / "root"), str(tmp_path / "run"))
        kept = pull_image(store, client, f"{registry.address}/crio/small:1")
        before = {name: os.listdir(f"{store.root}/{name}") for name in ("ingest", "layers", "blobs/sha256")}
        for _ in range(2):
            with pytest.raises(ResourceExhausted):
                pull_image(store, client, f"{registry.address}/crio/big:1")
            assert before == {name: os.listdir(f"{store.root}/{name}") for name in before}
            assert store.images.list() == [kept]
        store.images.remove(kept.id)
        pull_image(store, client, f"{registry.address}/crio/small:1")
        store.close()
    finally:
        umount(str(disk))


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount("tmpfs", str(path), "tmpfs", data="size=1m")
    yield path
    umount(str(path))


def list_files(top):
    return sorted(f"{directory}/{name}" for directory, _, files in os.walk(top) for name in files)


@pytest.fixture
def directory(tmp_path):
    """Two megabytes that no compression makes smaller."""
    path = tmp_path / "directory"
    path.mkdir()
    for index in range(20):
        (path / f"f{index}").write_bytes(random.Random(index).randbytes(100_000))
    return path


def test_an_image_that_does_not_fit_leaves_no_part_of_it(disk, directory, capsys):
    (disk / "tmp").mkdir()
    for temporary in (disk / "tmp", directory.parent):  # the layer does not fit, or its copy in the layout
        options = ("--tmpdir", str(temporary))
        assert run(["image", "from-dir", *options, str(directory), "-t", f"{disk}/layout:1"]) == 1
        assert "no space left on device" in capsys.readouterr().err
        assert list_files(disk) == []


def test_a_bundle_that_does_not_fit_is_none(disk, directory, tmp_path, capsys):
    assert run(["image", "from-dir", str(directory), "-t", f"{tmp_path}/layout:1"]) == 0
    assert run(["image", "unpack", "--image", f"{tmp_path}/layout:1", str(disk / "bundle")]) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert os.listdir(disk) == []


def test_a_repair_that_has_no_room_loses_nothing(tmp_path, client, supply, registry):
    """A layer that has changed is still better than none: it stays until there is room to unpack it again."""
    reference = f"{registry.address}/crio/image:1"
    push(client, reference, [make_layer(1, 20, 50_000)])
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("tmpfs", str(disk), "tmpfs", data="size=6m")
    try:
        places = Places(str(disk / "root"), str(tmp_path / "run"))
        store = Store.open(places.root, places.run)
        image = pull_image(store, client, reference)
        store.close()
        os.chmod(f"{places.root}/layers/1/1/f3", 0o600)
        free = os.statvfs(disk)
        (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 500_000))  # the layer takes 1 MB
        report = repair_store(places, supply)
        assert [finding.kind for finding in report.left] == ["layer-changed"]
        store = Store.open(places.root, places.run)
        assert [each.id for each in store.images.list()] == [image.id]
        assert len(os.listdir(f"{places.root}/layers/1/1")) == 20
        store.close()
        (disk / "filler").unlink()
        assert repair_store(places, supply).left == ()
    finally:
        umount(str(disk))
