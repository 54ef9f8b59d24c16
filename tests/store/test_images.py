import os

import pytest

from rundlet.errors import InvalidArgument, NotFound
from rundlet.spec.digest import Digest, parse_digest
from rundlet.store.locks import Patience
from rundlet.store.timestamp import parse_timestamp_ns
from tests.store.conftest import add_image


def test_an_image_is_found_by_everything_that_names_it(store):
    image = add_image(store)
    hexadecimal = image.id.removeprefix("sha256:")
    for text in (
        image.id,
        hexadecimal,
        hexadecimal[:3],
        f"sha256:{hexadecimal[:12]}",
        "redis",
        "redis:latest",
        "docker.io/library/redis:latest",
        f"redis@{image.manifest_digest}",
        f"redis:whatever@{image.manifest_digest}",
    ):
        assert store.images.find(text) == image, text
    assert store.images.list() == [image]


def test_what_is_not_there_is_none(store):
    add_image(store)
    for text in ("redis:7", "other", "ab", "f" * 64, f"redis@sha256:{'0' * 64}", "sha256:" + "e" * 64):
        assert store.images.find(text) is None


@pytest.mark.parametrize("text", ["host/UPPER", "bad name", "x:", "@sha256:0"])
def test_a_malformed_name_is_refused(store, text):
    with pytest.raises(InvalidArgument):
        store.images.find(text)


def test_an_ambiguous_prefix_is_refused(store):
    wanted, number = {}, 0
    while True:  # until two ids share their first three digits
        image = add_image(store, name=f"docker.io/library/i{number}:latest", layers=(), label=str(number))
        prefix = image.id[7:10]
        if prefix in wanted:
            break
        wanted[prefix] = number = number + 1
        assert number < 500
    with pytest.raises(InvalidArgument, match="ambiguous"):
        store.images.find(prefix)


def test_the_record_says_what_it_is(store):
    image = add_image(store)
    assert image.names == ("docker.io/library/redis:latest",)
    assert image.digests == (f"docker.io/library/redis@{image.manifest_digest}",)
    assert image.size_bytes == len(b"base") + len(b"top")
    assert image.created_at_ns == 1_716_401_933 * 10**9
    assert image.config.config.labels == {"label": "1"}
    assert [len(os.listdir(store.layers.path(layer))) for layer in image.layers] == [1, 1]


def test_a_name_moves_and_the_old_image_stays(store):
    old = add_image(store, label="old")
    new = add_image(store, label="new")
    assert store.images.find("redis").id == new.id
    assert store.images.find(old.id).names == ()
    assert store.images.find(old.id).digests == old.digests
    assert old.layers == new.layers


def test_one_image_may_have_many_names(store):
    add_image(store, name="docker.io/library/redis:1")
    image = add_image(store, name="quay.io/crio/redis:alpine")
    assert image.names == ("docker.io/library/redis:1", "quay.io/crio/redis:alpine")
    assert len(image.digests) == 2
    assert len(store.images.list()) == 1


def test_a_pull_by_digest_has_no_name(store):
    assert add_image(store, name="").names == ()


def test_removal_takes_all_names_and_frees_what_nothing_uses(store):
    first = add_image(store, layers=(b"base", b"one"), label="1")
    second = add_image(store, name="docker.io/library/other:latest", layers=(b"base", b"two"), label="2")
    store.images.remove(first.id)
    assert store.images.find("redis") is None
    assert [os.path.isdir(store.layers.path(layer)) for layer in first.layers] == [True, False]
    assert store.blobs.find(parse_digest(first.id)) is None
    assert store.images.find("other") == second
    store.images.remove(second.id)
    store.images.remove(second.id)
    assert store.usage() == (0, 0)
    store.settle()
    assert os.listdir(f"{store.root}/layers") == []
    assert os.listdir(f"{store.root}/blobs/sha256") == []


def test_untag_takes_one_name(store):
    add_image(store, name="docker.io/library/redis:1")
    add_image(store, name="docker.io/library/redis:2")
    store.images.untag("redis:1")
    assert store.images.find("redis:2").names == ("docker.io/library/redis:2",)
    with pytest.raises(NotFound):
        store.images.untag("redis:1")


def test_pinned_stays_pinned(store):
    assert add_image(store, pinned=True).pinned
    assert add_image(store).pinned


def test_an_image_whose_config_is_lost_does_not_hide_the_others(open_store):
    store = open_store()
    lost = add_image(store, label="1")
    add_image(store, name="docker.io/library/other:latest", label="2")
    os.unlink(store.blobs.path(parse_digest(lost.id)))
    store = open_store()
    assert [image.names for image in store.images.list()] == [("docker.io/library/other:latest",)]
    assert store.images.find(lost.id) is None
    assert add_image(store, label="1") == lost


def test_a_config_that_changed_on_disk_is_not_believed(open_store):
    store = open_store()
    image = add_image(store)
    with open(store.blobs.path(parse_digest(image.id)), "ab") as file:
        file.write(b" ")
    assert open_store().images.list() == []


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2024-05-22T18:18:53Z", 1_716_401_933 * 10**9),
        ("2024-05-22T18:18:53.123456789Z", 1_716_401_933_123_456_789),
        ("2024-05-22T20:18:53.5+02:00", 1_716_401_933_500_000_000),
        ("2024-05-22T13:48:53-04:30", 1_716_401_933 * 10**9),
        ("0001-01-01T00:00:00Z", -62_135_596_800 * 10**9),
        ("", 0),
        ("yesterday", 0),
        ("2024-13-01T00:00:00Z", 0),
    ],
)
def test_timestamps(text, nanoseconds):
    assert parse_timestamp_ns(text) == nanoseconds


def test_blobs_keep_what_they_are_given(store):
    data = b"x" * 100_000
    digest = Digest.of(data)
    assert store.blobs.find(digest) is None
    store.blobs.put(data, digest, Patience())
    store.blobs.put(data, digest, Patience())
    assert (store.blobs.find(digest), store.blobs.read(digest)) == (len(data), data)
    with pytest.raises(NotFound):
        store.blobs.read(Digest.of(b"other"))
