"""Schema 1 images: made here as old clients did, in a registry, and copied into today's forms."""

import base64
import gzip
import json

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.image.api import CopyOptions, copy_image, inspect_image
from rundlet.image.documents import digest_manifest
from rundlet.image.location import parse_location
from rundlet.image.place import Access, open_destination
from rundlet.image.plan import Packing
from rundlet.image.transport import Content
from rundlet.registry import repository
from rundlet.spec import mediatype
from rundlet.spec.digest import Digest
from rundlet.spec.schema1 import parse_schema1, signed_payload
from tests.image.images import read_manifest, tar

LAYERS = [gzip.compress(tar({"base": b"1"}), mtime=0), gzip.compress(tar({"top": b"2"}), mtime=0)]
EMPTY = gzip.compress(bytes(1024), mtime=0)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_manifest(*, signed):
    """Base layer, an empty step, top layer; newest first, as the format has it."""
    history = [
        {"id": "c", "parent": "b", "created": "2016-01-01T00:00:03Z", "architecture": "amd64", "os": "linux",
         "config": {"Cmd": ["top"], "Env": None}, "container_config": {"Cmd": ["sh", "-c", "make top"]}},
        {"id": "b", "parent": "a", "created": "2016-01-01T00:00:02Z", "throwaway": True,
         "container_config": {"Cmd": ["ENV", "A=b"]}},
        {"id": "a", "created": "2016-01-01T00:00:01Z", "container_config": {"Cmd": ["make base"]}},
    ]  # fmt: skip
    blobs = [LAYERS[1], EMPTY, LAYERS[0]]
    payload = json.dumps(
        {
            "schemaVersion": 1,
            "name": "old/image",
            "tag": "1",
            "architecture": "amd64",
            "fsLayers": [{"blobSum": str(Digest.of(blob))} for blob in blobs],
            "history": [{"v1Compatibility": json.dumps(each)} for each in history],
        },
        indent=3,
    ).encode()
    if not signed:
        return payload
    length = payload.rindex(b"\n}")
    protected = json.dumps({"formatLength": length, "formatTail": encode(payload[length:])}).encode()
    signature = {"header": {"alg": "ES256"}, "signature": encode(b"x" * 64), "protected": encode(protected)}
    return payload[:length] + b',\n   "signatures": ' + json.dumps([signature]).encode() + payload[length:]


def content(data):
    from contextlib import nullcontext

    return Content(lambda: nullcontext(iter((data,))), Digest.of(data), len(data))


@pytest.fixture(params=[True, False], ids=["signed", "unsigned"])
def old_image(request, host, registry):
    name = f"docker://{registry.address}/old/image:1"
    destination = open_destination(host, parse_location(name))
    for blob in {*LAYERS, EMPTY}:
        destination.put_blob(content(blob))
    raw = make_manifest(signed=request.param)
    media_type = mediatype.DOCKER_MANIFEST_V1_SIGNED if request.param else mediatype.DOCKER_MANIFEST_V1
    remote = host.registries(Access()).home(parse_location(name).reference)
    repository.push_manifest(remote, raw, media_type, "1")
    return name


def test_the_digest_is_that_of_what_is_signed():
    assert signed_payload(make_manifest(signed=True)) == make_manifest(signed=False)
    assert digest_manifest(make_manifest(signed=True), "x") == Digest.of(make_manifest(signed=False))


def test_layers_come_bottom_first_without_the_empty_ones():
    parsed = parse_schema1(make_manifest(signed=True))
    assert parsed.layers == tuple(str(Digest.of(layer)) for layer in LAYERS)
    assert [entry["id"] for entry in parsed.history] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda value: value["history"].pop(), "history"),
        (lambda value: value.update(fsLayers=[]), "layers"),
        (lambda value: value["fsLayers"][0].update(blobSum="../x"), "blobSum"),
        (lambda value: value["history"][0].update(v1Compatibility="{"), "history"),
    ],
)
def test_malformed_ones_say_where(edit, reason):
    value = json.loads(make_manifest(signed=False))
    edit(value)
    with pytest.raises(InvalidArgument, match=reason):
        parse_schema1(json.dumps(value).encode())


@pytest.mark.parametrize("length", [-1, 10**9])
def test_a_signature_of_nowhere(length):
    value = json.loads(make_manifest(signed=True))
    protected = json.dumps({"formatLength": length, "formatTail": ""}).encode()
    value["signatures"][0]["protected"] = encode(protected)
    with pytest.raises(InvalidArgument, match="formatLength"):
        signed_payload(json.dumps(value).encode())


@pytest.mark.parametrize("form", ["", mediatype.OCI_MANIFEST])
def test_it_becomes_an_image_of_today(host, old_image, tmp_path, form):
    copy_image(host, old_image, f"dir:{tmp_path}/new", CopyOptions(format=form))
    manifest = read_manifest(host, f"dir:{tmp_path}/new")
    assert manifest["mediaType"] == (form or mediatype.DOCKER_MANIFEST)
    assert [(each["digest"], each["size"]) for each in manifest["layers"]] == [
        (str(Digest.of(layer)), len(layer)) for layer in LAYERS
    ]
    config = inspect_image(host, f"dir:{tmp_path}/new").config
    assert config.rootfs.diff_ids == tuple(str(Digest.of(gzip.decompress(layer))) for layer in LAYERS)
    assert config.config.cmd == ("top",)
    assert [each.empty_layer for each in config.history] == [False, True, False]
    assert config.history[1].created_by == "ENV A=b"


def test_it_runs_from_the_store(host, old_image):
    copy_image(host, old_image, "containers-storage:localhost/old:1")
    assert len(host.store.images.find("localhost/old:1").layers) == 2


def test_it_is_recompressed_on_the_way(host, old_image, tmp_path):
    options = CopyOptions(packing=Packing("zstd"), format=mediatype.OCI_MANIFEST)
    copy_image(host, old_image, f"dir:{tmp_path}/new", options)
    assert read_manifest(host, f"dir:{tmp_path}/new")["layers"][0]["mediaType"].endswith("zstd")
    copy_image(host, f"dir:{tmp_path}/new", "containers-storage:localhost/old:2")


def test_its_digest_cannot_stay(host, old_image, tmp_path):
    with pytest.raises(FailedPrecondition, match="--preserve-digests"):
        copy_image(host, old_image, f"dir:{tmp_path}/new", CopyOptions(preserve_digests=True))


def test_it_can_be_looked_at(host, old_image):
    found = inspect_image(host, old_image)
    assert [layer.digest for layer in found.layers] == [str(Digest.of(layer)) for layer in LAYERS]
    assert found.digest == Digest.of(make_manifest(signed=False))
