"""A registry on loopback and images that are made layer by layer."""

import gzip
import json
import random
from contextlib import contextmanager

import pytest

from rundlet.image.place import Host
from rundlet.image.supply import Supply
from rundlet.registry.access import Registries
from rundlet.registry.client import RegistryClient, RegistrySettings
from rundlet.registry.places import find_places
from rundlet.registry.server import RegistryServer
from rundlet.spec import mediatype
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference
from rundlet.store.store import Store
from rundlet.trust.gate import Gate
from tests.archive.trees import directory, make_tar, member
from tests.image.images import LayoutMaker
from tests.registry.conftest import make_debian_registry

__all__ = ["make_debian_registry"]  # a fixture

SETTINGS = RegistrySettings(retries=1, connect_timeout_s=2, read_timeout_s=5)


@contextmanager
def serving(directory):
    directory.mkdir(exist_ok=True)
    server = RegistryServer(str(directory))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def client():
    client = RegistryClient(SETTINGS)
    yield client
    client.close()


@pytest.fixture
def make_supply(tmp_path):
    """Makes what repairs fetch by; `places` members replace those of a user without any files."""
    opened = []

    def make(files=None, **places):
        usual = find_places({"HOME": str(tmp_path)}, uid=1000)._replace(
            registries_conf=str(tmp_path / "none"), registries_conf_dirs=(), auth=()
        )
        registries = Registries(SETTINGS, usual._replace(**places))
        opened.append(registries)
        return Supply(registries, files and Gate(registries, files))

    yield make
    for registries in opened:
        registries.close()


@pytest.fixture
def supply(make_supply):
    return make_supply()


@pytest.fixture
def registry(tmp_path):
    with serving(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def open_store(tmp_path):
    opened = []

    def make():
        store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def push(client, reference, layers, *, encode=gzip.compress, diff_ids=None, labels=None, config=None):
    """Push an image whose layers are the tars `layers`; returns (manifest digest, config digest)."""
    target = parse_reference(reference)
    packed = [encode(layer) for layer in layers]
    config = json.dumps(
        config
        if config is not None
        else {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Labels": labels or {}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids or [str(Digest.of(layer)) for layer in layers]},
        }
    ).encode()
    for data in (config, *packed):
        client.push_blob(target, Digest.of(data), data)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_MANIFEST,
            "config": describe_blob(mediatype.OCI_CONFIG, config),
            "layers": [describe_blob(mediatype.OCI_LAYER_GZIP, data) for data in packed],
        }
    ).encode()
    client.push_manifest(target, manifest, mediatype.OCI_MANIFEST)
    return Digest.of(manifest), Digest.of(config)


def push_family(client, prefix, *, images, files):
    """Images that share layers, of so many files each: prefix:0, prefix:1, …; their names."""
    chance = random.Random(1)
    layers = [
        make_tar(
            directory(f"l{number}"),
            *(
                member(f"l{number}/f{index}", chance.randbytes(chance.randrange(9000)))
                for index in range(files)
            ),
        )
        for number in range(images + 2)
    ]
    references = [f"{prefix}:{number}" for number in range(images)]
    for number, reference in enumerate(references):
        push(client, reference, layers[number : number + 3], labels={"number": str(number)})
    return references


def push_index(client, reference, manifests):
    """Push an index; `manifests` are (digest, size, architecture)."""
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_INDEX,
            "manifests": [
                {
                    "mediaType": mediatype.OCI_MANIFEST,
                    "digest": str(digest),
                    "size": size,
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for digest, size, architecture in manifests
            ],
        }
    ).encode()
    client.push_manifest(parse_reference(reference), index, mediatype.OCI_INDEX)
    return Digest.of(index)


def describe_blob(media_type, data):
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


@pytest.fixture
def layout(tmp_path):
    """Makes images in an OCI layout."""
    return LayoutMaker(tmp_path / "layout")


@pytest.fixture
def host(tmp_path):
    """What image jobs share, with a store of this test's own and no policy."""
    with Host(str(tmp_path / "root"), str(tmp_path / "run"), insecure_policy=True) as host:
        yield host
