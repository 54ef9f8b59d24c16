import errno
import gzip
import os
import threading

import pytest
import zstandard

from rundlet.archive import apply
from rundlet.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from rundlet.image.pull import pull_image
from rundlet.image.stack import plan_layers
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, Platform
from rundlet.spec.digest import Digest
from rundlet.spec.image import ImageConfig, RootFs
from rundlet.spec.manifest import Manifest
from rundlet.spec.reference import parse_reference
from tests.archive.trees import directory, make_tar, member
from tests.image.conftest import push, push_index, serving

BASE = make_tar(directory("etc", mode=0o750), member("etc/base", b"base" * 1000))
TOP = make_tar(member("etc/top", b"top"), member("etc/.wh.base"))


def listing(store):
    return {name: sorted(os.listdir(f"{store.root}/{name}")) for name in ("ingest", "layers", "blobs/sha256")}


NOTHING = {"ingest": [], "layers": [], "blobs/sha256": []}


def pull(store, client, registry, name="redis:1", **options):
    return pull_image(store, client, f"{registry.address}/crio/{name}", **options)


@pytest.fixture
def redis(client, registry):
    """An image of two layers under crio/redis:1; (manifest digest, config digest)."""
    return push(client, f"{registry.address}/crio/redis:1", [BASE, TOP])


def test_a_pulled_image_is_there_whole(store, client, registry, redis):
    manifest, config = redis
    image = pull(store, client, registry)
    assert image.id == str(config)
    assert image.names == (f"{registry.address}/crio/redis:1",)
    assert image.digests == (f"{registry.address}/crio/redis@{manifest}",)
    assert image.manifest_digest == str(manifest)
    assert image.size_bytes == 4003
    assert store.images.find(f"{registry.address}/crio/redis:1") == image
    bottom, top = map(store.layers.path, image.layers)
    assert os.listdir(f"{bottom}/etc") == ["base"]
    assert sorted(os.listdir(f"{top}/etc")) == ["base", "top"]
    assert listing(store)["ingest"] == []
    assert len(listing(store)["blobs/sha256"]) == 4
    assert os.listdir(os.path.dirname(store.root) + "/run") == []


def test_directories_without_an_entry_look_as_below(store, client, registry, redis):
    top = store.layers.path(pull(store, client, registry).layers[1])
    assert oct(os.stat(f"{top}/etc").st_mode) == "0o40750"


@pytest.mark.parametrize("encode", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_layers_in_every_compression(store, client, registry, encode):
    push(client, f"{registry.address}/crio/redis:1", [BASE, TOP], encode=encode)
    assert len(pull(store, client, registry).layers) == 2


def test_pulling_again_fetches_no_layer(store, client, registry, redis):
    first = pull(store, client, registry)
    seen = []
    assert pull(store, client, registry, progress=seen.append) == first
    assert {each.state for each in seen} == {"ready"}


def test_images_share_their_layers(store, client, registry, redis):
    push(client, f"{registry.address}/crio/other:1", [BASE, make_tar(member("other"))])
    one, other = pull(store, client, registry), pull(store, client, registry, "other:1")
    assert one.layers[0] == other.layers[0]
    assert one.layers[1] != other.layers[1]


def test_the_same_layer_twice_in_one_image(store, client, registry):
    empty = make_tar()
    push(client, f"{registry.address}/crio/redis:1", [BASE, empty, empty, empty])
    assert len(set(pull(store, client, registry).layers)) == 4


def test_an_image_without_layers(store, client, registry):
    push(client, f"{registry.address}/crio/redis:1", [])
    assert pull(store, client, registry).layers == ()


def test_a_pull_by_digest_has_no_name(store, client, registry, redis):
    image = pull(store, client, registry, f"redis@{redis[0]}")
    assert (image.names, image.digests) == ((), (f"{registry.address}/crio/redis@{redis[0]}",))
    both = pull(store, client, registry, f"redis:1@{redis[0]}")
    assert both.names == ()


def test_an_index_gives_the_platform_and_keeps_its_digest(store, client, registry):
    reference = f"{registry.address}/crio/redis"
    amd, _ = push(client, f"{reference}:amd", [BASE], labels={"for": "amd64"})
    arm, _ = push(client, f"{reference}:arm", [BASE], labels={"for": "arm64"})
    sizes = {
        digest: len(client.fetch_manifest(parse_reference(reference), digest).raw) for digest in (amd, arm)
    }
    index = push_index(client, f"{reference}:1", [(arm, sizes[arm], "arm64"), (amd, sizes[amd], "amd64")])
    image = pull(store, client, registry, platform=Platform("linux", "amd64"))
    assert image.config.config.labels == {"for": "amd64"}
    assert image.digests == (f"{reference}@{index}",)
    assert image.manifest_digest == str(amd)
    image = pull(store, client, registry, platform=Platform("linux", "arm64", "v8"))
    assert image.config.config.labels == {"for": "arm64"}
    with pytest.raises(NotFound, match="s390x"):
        pull(store, client, registry, platform=Platform("linux", "s390x"))


def test_progress_counts_up_to_the_size(store, client, registry, redis):
    seen = []
    pull(store, client, registry, progress=seen.append)
    by_blob = {}
    for each in seen:
        by_blob.setdefault(each.digest, []).append(each)
    assert len(by_blob) == 2
    for events in by_blob.values():
        assert [each.done_bytes for each in events] == sorted(each.done_bytes for each in events)
        assert (events[-1].state, events[-1].done_bytes) == ("ready", events[-1].size_bytes)


def test_many_threads_pull_the_same(store, client, registry, redis):
    images = []
    threads = [
        threading.Thread(target=lambda: images.append(pull(store, client, registry))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 6
    assert len(set(images[0].layers)) == 2
    assert len({image.layers for image in images}) == 1


# --- what may go wrong ------------------------------------------------------


def test_an_image_that_is_not_there(store, client, registry):
    with pytest.raises(NotFound):
        pull(store, client, registry, "missing:1")
    assert listing(store) == NOTHING


def test_no_registry_there(store, client):
    with pytest.raises(Unavailable, match="127.0.0.1:1"):
        pull_image(store, client, "127.0.0.1:1/crio/redis:1")


def test_no_time_at_all(store, client, registry, redis):
    with pytest.raises(DeadlineExceeded):
        pull(store, client, registry, deadline_s=0.0)
    with pytest.raises(DeadlineExceeded):
        pull(store, client, registry, deadline_s=0.0001)
    assert store.images.list() == []
    assert listing(store) == NOTHING


def test_a_layer_that_is_not_what_the_config_says(store, client, registry):
    wrong = [str(Digest.of(BASE)), str(Digest.of(b"something else"))]
    push(client, f"{registry.address}/crio/redis:1", [BASE, TOP], diff_ids=wrong)
    with pytest.raises(DataLoss, match="diff id"):
        pull(store, client, registry)
    assert store.images.list() == []
    assert not [name for name in listing(store)["layers"] if name.startswith("tmp")]


def test_a_hostile_layer(store, client, registry):
    push(client, f"{registry.address}/crio/redis:1", [make_tar(member("../escaped", b"!"))])
    with pytest.raises(InvalidArgument, match="escaped"):
        pull(store, client, registry)
    assert store.images.list() == []
    assert listing(store)["ingest"] == []
    assert not [name for name in listing(store)["layers"] if name.startswith("tmp")]


def test_numbers_of_layers_that_differ(store, client, registry):
    push(client, f"{registry.address}/crio/redis:1", [BASE], diff_ids=[str(Digest.of(BASE))] * 2)
    with pytest.raises(InvalidArgument, match="diff ids"):
        pull(store, client, registry)


def test_more_layers_than_overlayfs_stacks():
    digests = tuple(f"sha256:{number:064x}" for number in range(501))
    layer = Descriptor(mediatype.OCI_LAYER, digests[0], 1)
    manifest = Manifest(2, layer, (layer,) * 501)
    with pytest.raises(InvalidArgument, match="501 layers"):
        plan_layers(manifest, ImageConfig(RootFs("layers", digests)))


def test_an_artifact_is_not_an_image(store, client, registry):
    push(client, f"{registry.address}/crio/redis:1", [BASE], config={})
    with pytest.raises(InvalidArgument, match="rootfs"):
        pull(store, client, registry)
    assert listing(store) == NOTHING


def test_a_blob_that_lies_about_its_digest(store, client, registry, tmp_path):
    """The registry's disk has changed a layer."""
    push(client, f"{registry.address}/crio/redis:1", [make_tar(member("big", os.urandom(10_000)))])
    victim = max(
        (path for path in (tmp_path / "registry").rglob("*") if path.is_file()),
        key=lambda p: p.stat().st_size,
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises((DataLoss, InvalidArgument)):
        pull(store, client, registry)
    assert store.images.list() == []
    assert listing(store)["ingest"] == []


def test_a_full_disk_leaves_nothing(store, client, registry, redis, monkeypatch):
    """Writing a file's content fails as on a full disk, in the upper layer only."""
    write = apply._write

    def full(fd, piece):
        if bytes(piece) == b"top":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(fd, piece)

    monkeypatch.setattr(apply, "_write", full)
    with pytest.raises(ResourceExhausted, match="no space left"):
        pull(store, client, registry)
    assert listing(store) == NOTHING
    assert store.usage() == (0, 0)
    monkeypatch.undo()
    assert len(pull(store, client, registry).layers) == 2


def test_a_full_disk_keeps_what_other_images_use(store, client, registry, redis, monkeypatch):
    other = push(client, f"{registry.address}/crio/other:1", [BASE])
    kept = pull(store, client, registry, "other:1")
    before = listing(store)
    monkeypatch.setattr(apply, "_write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(ResourceExhausted):
        pull(store, client, registry)
    assert listing(store) == before
    assert [image.id for image in store.images.list()] == [str(other[1])] == [kept.id]


def test_a_download_goes_on_where_it_stopped(store, client, registry, tmp_path):
    noise = os.urandom(3_000_000)
    push(client, f"{registry.address}/crio/redis:1", [make_tar(member("big", noise))])
    seen = []

    def stop_halfway(progress):
        if progress.done_bytes > 1_000_000:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        pull(store, client, registry, progress=stop_halfway)
    (part,) = listing(store)["ingest"]
    held = os.path.getsize(f"{store.root}/ingest/{part}")
    assert held > 1_000_000
    pull(store, client, registry, progress=seen.append)
    assert seen[0].done_bytes == held


def test_a_wrong_part_is_fetched_anew(store, client, registry):
    """What lies in ingest/ is no part of the blob: found out at its end, after it was unpacked."""
    data = make_tar(member("big", os.urandom(2_000_000)))
    push(client, f"{registry.address}/crio/redis:1", [data], encode=bytes)
    digest = Digest.of(data)
    wrong = bytearray(data[:1_500_000])
    wrong[1_000_000] ^= 1
    with open(store.blobs.ingest_path(digest), "wb") as file:
        file.write(wrong)
    image = pull(store, client, registry)
    with open(f"{store.layers.path(image.layers[0])}/big", "rb") as file:
        assert data[512:][:2_000_000].startswith(file.read(1000))


def test_a_blob_that_is_here_is_not_fetched(store, client, registry, redis):
    image = pull(store, client, registry)
    for layer in image.layers:
        os.rename(store.layers.path(layer), f"{store.root}/lost-{layer}")
    seen = []
    again = pull(store, client, registry, progress=seen.append)
    assert {each.state for each in seen} == {"ready"}
    assert again == image


def test_one_failing_layer_ends_the_others(store, client, registry):
    slow = [make_tar(member(f"f{number}", os.urandom(400_000))) for number in range(6)]
    push(client, f"{registry.address}/crio/redis:1", [*slow, make_tar(member("../x"))])
    with pytest.raises(InvalidArgument) as caught:
        pull(store, client, registry)
    assert not isinstance(caught.value, Cancelled)
    assert threading.active_count() < 10


def test_two_registries_serve_one_image(store, client, registry, redis, tmp_path):
    with serving(tmp_path / "second") as second:
        push(client, f"{second.address}/crio/redis:1", [BASE, TOP])
        one, two = pull(store, client, registry), pull(store, client, second)
    assert one.id == two.id
    assert len(two.names) == len(two.digests) == 2


def test_diff_ids_of_another_algorithm(store, client, registry):
    diff_ids = [str(Digest.of(layer, "sha512")) for layer in (BASE, TOP)]
    push(client, f"{registry.address}/crio/redis:1", [BASE, TOP], diff_ids=diff_ids)
    assert pull(store, client, registry).config.rootfs.diff_ids == tuple(diff_ids)
