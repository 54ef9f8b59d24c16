import pytest

from rundlet.spec.digest import Digest
from rundlet.spec.json import encode
from rundlet.store.images import NewImage
from rundlet.store.layers import NewLayer
from rundlet.store.locks import Patience
from rundlet.store.store import Store


@pytest.fixture
def open_store(tmp_path):
    """Opens the same store again and again, as other processes would."""
    opened = []

    def make(schema=()):
        store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"), schema)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def add_layer(store, content):
    """A layer with one file; returns its row id."""
    chain_id = str(Digest.of(content))
    with store.layers.lock(chain_id, Patience()), store.layers.unpack_dir(chain_id) as path:
        found = store.layers.find(chain_id)
        if found:
            return found.id
        with open(f"{path}/file", "wb") as file:
            file.write(content)
        return store.layers.publish(path, NewLayer(chain_id, chain_id, chain_id, len(content), 2))


def add_image(store, name="docker.io/library/redis:latest", layers=(b"base", b"top"), label="1", **options):
    """An image of layers made of `layers`' contents."""
    config = encode(
        {
            "os": "linux",
            "architecture": "amd64",
            "created": "2024-05-22T18:18:53Z",
            "config": {"Labels": {"label": label}},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(content)) for content in layers]},
        }
    )
    digest, manifest = Digest.of(config), Digest.of(b"manifest" + config)
    with store.bringing(Patience()):
        store.blobs.put(config, digest, Patience())
        store.blobs.put(b"manifest" + config, manifest, Patience())
        ids = tuple(add_layer(store, content) for content in layers)
        repository = (
            (name or "docker.io/library/redis").rpartition(":")[0] if name else "docker.io/library/redis"
        )
        return store.images.publish(
            NewImage(
                str(digest),
                name,
                f"{repository}@{manifest}",
                str(manifest),
                ids,
                (str(digest), str(manifest)),
                **options,
            )
        )
