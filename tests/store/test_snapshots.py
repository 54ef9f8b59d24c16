import os
from pathlib import Path

import pytest

from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from tests.store.conftest import add_image

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners")


def test_lower_is_top_first(store):
    image = add_image(store)
    snapshot = store.snapshots.prepare("key", image.id)
    assert [Path(path, "file").read_bytes() for path in snapshot.lower] == [b"top", b"base"]
    assert os.listdir(snapshot.upper) == os.listdir(snapshot.work) == []
    assert store.snapshots.find("key") == snapshot
    assert store.snapshots.find("other") is None


@root_only
def test_upper_looks_as_the_top_layer(store):
    image = add_image(store)
    os.chmod(store.layers.path(image.layers[-1]), 0o711)
    os.chown(store.layers.path(image.layers[-1]), 5, 6)
    status = os.stat(store.snapshots.prepare("key", image.id).upper)
    assert (oct(status.st_mode), status.st_uid, status.st_gid) == ("0o40711", 5, 6)


def test_layers_stay_as_long_as_a_snapshot(store):
    image = add_image(store)
    snapshot = store.snapshots.prepare("key", image.id)
    store.images.remove(image.id)
    assert all(map(os.path.isdir, snapshot.lower))
    store.snapshots.remove("key")
    store.collect()
    assert not any(map(os.path.isdir, snapshot.lower))


def test_errors(store):
    image = add_image(store)
    store.snapshots.prepare("key", image.id)
    with pytest.raises(AlreadyExists):
        store.snapshots.prepare("key", image.id)
    with pytest.raises(NotFound):
        store.snapshots.prepare("other", "sha256:" + "0" * 64)
    for key in ("", "../x", "a/b", ".", "x" * 200):
        with pytest.raises(InvalidArgument):
            store.snapshots.prepare(key, image.id)
    assert os.listdir(f"{store.root}/snapshots") == ["key"]


def test_removal_is_idempotent_and_takes_all(store):
    image = add_image(store)
    snapshot = store.snapshots.prepare("key", image.id)
    os.makedirs(f"{snapshot.upper}/a/b")
    store.snapshots.remove("key")
    store.snapshots.remove("key")
    assert os.listdir(f"{store.root}/snapshots") == []
    assert store.snapshots.usage("key") == (0, 0)


def test_usage_counts_a_hard_link_once(store):
    snapshot = store.snapshots.prepare("key", add_image(store).id)
    assert store.snapshots.usage("key") == (0, 0)
    with open(f"{snapshot.upper}/file", "wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        os.fsync(file.fileno())
    os.link(f"{snapshot.upper}/file", f"{snapshot.upper}/again")
    os.mkdir(f"{snapshot.upper}/directory")
    used_bytes, inodes = store.snapshots.usage("key")
    assert inodes == 2
    assert 100_000 <= used_bytes <= 200_000
