"""The client and our own server, over real sockets on loopback."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rundlet.errors import Cancelled, DataLoss, FailedPrecondition, NotFound, ResourceExhausted
from rundlet.spec import json, mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

CONTENT = bytes(range(256)) * 12_000  # 3 MB


def describe(content, media_type="application/octet-stream"):
    return Descriptor(media_type, str(Digest.of(content)), len(content))


def make_manifest(*layers):
    return json.encode(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_MANIFEST,
            "config": describe(b"{}", mediatype.OCI_CONFIG),
            "layers": [describe(layer) for layer in layers],
        }
    )


@pytest.fixture
def ref(server):
    return parse_reference(f"{server.address}/team/app:v1")


@pytest.fixture
def pushed(client, ref):
    """A repository with one blob."""
    client.push_blob(ref, Digest.of(CONTENT), CONTENT)
    return ref


def test_a_manifest_comes_back_as_it_was_pushed(client, ref):
    raw = make_manifest(CONTENT)
    digest = client.push_manifest(ref, raw, mediatype.OCI_MANIFEST)
    fetched = client.resolve(ref)
    assert fetched == (raw, mediatype.OCI_MANIFEST, digest)
    assert client.fetch_manifest(ref, digest) == fetched
    assert client.resolve(ref.with_digest(digest)) == fetched


def test_a_manifest_can_be_pushed_by_digest_alone(client, ref):
    raw = make_manifest(CONTENT)
    untagged = ref.with_digest(Digest.of(raw))
    client.push_manifest(untagged, raw, mediatype.OCI_MANIFEST)
    assert client.resolve(untagged).raw == raw
    assert client.list_tags(ref) == []


def test_tags_are_listed(client, ref):
    for tag in ("b", "a", "c"):
        client.push_manifest(ref.with_tag(tag), make_manifest(CONTENT), mediatype.OCI_MANIFEST)
    assert client.list_tags(ref) == ["a", "b", "c"]


def test_what_is_not_there_is_not_found_by_name(client, ref):
    with pytest.raises(NotFound, match=r"manifest team/app:v1: .*MANIFEST_UNKNOWN"):
        client.resolve(ref)
    with pytest.raises(NotFound):
        client.list_tags(ref)
    with pytest.raises(NotFound), client.open_blob(ref, Digest.of(b"x"), 1) as chunks:
        list(chunks)


def test_a_blob_from_memory_and_from_a_file(client, ref, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    client.push_blob(ref, Digest.of(CONTENT), str(source))
    client.push_blob(ref, Digest.of(b"small"), b"small")
    for content in (CONTENT, b"small"):
        with client.open_blob(ref, Digest.of(content), len(content)) as chunks:
            assert b"".join(chunks) == content


def test_a_file_that_is_not_there_is_not_found(client, ref):
    with pytest.raises(NotFound, match="file /nonexistent: no such file"):
        client.push_blob(ref, Digest.of(CONTENT), "/nonexistent")


def test_pushing_what_is_there_sends_nothing(client, pushed):
    client.push_blob(pushed, Digest.of(CONTENT), "/nonexistent/never/opened")


def test_a_blob_from_the_middle(client, pushed):
    with client.open_blob(pushed, Digest.of(CONTENT), len(CONTENT), offset=1000) as chunks:
        assert b"".join(chunks) == CONTENT[1000:]


def test_an_iteration_left_early_harms_nobody(client, pushed):
    with client.open_blob(pushed, Digest.of(CONTENT), len(CONTENT)) as chunks:
        next(iter(chunks))
    assert client.list_tags(pushed) == []


def test_a_download_reports_its_progress(client, pushed, tmp_path):
    reports = []
    target = tmp_path / "blob"
    client.download_blob(pushed, describe(CONTENT), str(target), progress=reports.append)
    assert target.read_bytes() == CONTENT
    assert reports[0] == 0
    assert reports[-1] == len(CONTENT)
    assert reports == sorted(reports)


@pytest.mark.parametrize("held", [1, 1_000_000, len(CONTENT) - 1, len(CONTENT)])
def test_a_download_goes_on_from_what_is_there(client, pushed, tmp_path, held):
    target = tmp_path / "blob"
    target.write_bytes(CONTENT[:held])
    reports = []
    client.download_blob(pushed, describe(CONTENT), str(target), progress=reports.append)
    assert target.read_bytes() == CONTENT
    assert reports[0] == held


@pytest.mark.parametrize("held", [b"wrong", b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_a_download_starts_anew_when_what_is_there_is_wrong(client, pushed, tmp_path, held):
    target = tmp_path / "blob"
    target.write_bytes(held)
    client.download_blob(pushed, describe(CONTENT), str(target))
    assert target.read_bytes() == CONTENT


def test_an_empty_blob(client, pushed, tmp_path):
    target = tmp_path / "blob"
    client.download_blob(pushed, describe(b""), str(target))
    assert target.read_bytes() == b""


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_wrong_size_is_data_loss_and_leaves_nothing(client, pushed, tmp_path, size):
    target = tmp_path / "blob"
    wrong = Descriptor("x", str(Digest.of(CONTENT)), size)
    with pytest.raises(DataLoss, match=str(size)):
        client.download_blob(pushed, wrong, str(target))
    assert not target.exists()


def test_content_changed_on_the_registry_s_disk_is_data_loss(client, pushed, tmp_path):
    digest = Digest.of(CONTENT)
    stored = tmp_path / "registry" / "blobs" / digest.algorithm / digest.hex
    stored.write_bytes(b"x" * len(CONTENT))
    target = tmp_path / "blob"
    with pytest.raises(DataLoss, match=str(digest)):
        client.download_blob(pushed, describe(CONTENT), str(target))
    assert not target.exists()


def test_a_cancelled_download_keeps_what_it_has(client, pushed, tmp_path):
    target = tmp_path / "blob"
    cancel = threading.Event()

    def stop_after_some(done):
        if done:
            cancel.set()

    with pytest.raises(Cancelled):
        client.download_blob(pushed, describe(CONTENT), str(target), progress=stop_after_some, cancel=cancel)
    held = target.read_bytes()
    assert 0 < len(held) < len(CONTENT)
    assert CONTENT.startswith(held)


def test_a_target_that_cannot_be_written_is_told(client, pushed, tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        client.download_blob(pushed, describe(CONTENT), str(tmp_path / "no" / "blob"))


def test_a_symbolic_link_as_the_target_is_not_followed(client, pushed, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FailedPrecondition):
        client.download_blob(pushed, describe(CONTENT), str(tmp_path / "link"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_told(client, pushed):
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full not on this host")
    with pytest.raises(ResourceExhausted, match="no space left"):
        client.download_blob(pushed, describe(CONTENT), "/dev/full")


def test_many_threads_share_one_client(client, ref, tmp_path):
    contents = [os.urandom(200_000) for _ in range(12)]

    def carry(number):
        content = contents[number]
        client.push_blob(ref, Digest.of(content), content)
        target = tmp_path / str(number)
        client.download_blob(ref, describe(content), str(target))
        return target.read_bytes() == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(carry, range(len(contents))))
