"""Pulls into a file system that is too small, at every stage of the pull."""

import os
import random

import pytest

from rundlet.errors import ResourceExhausted
from rundlet.image.pull import pull_image
from rundlet.kernel.mount import mount, umount
from rundlet.store.store import Store
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
