from typing import Any

import pytest

from rundlet.errors import InvalidArgument, NotFound, Unimplemented
from rundlet.spec import json, mediatype
from rundlet.spec.descriptor import Descriptor, Platform, parse_platform
from rundlet.spec.manifest import Index, Manifest, parse_manifest, select_platform

BLOB = Descriptor("a/b", "sha256:" + "ab" * 32, 3)


def encode(**members: Any) -> bytes:
    return json.encode({"schemaVersion": 2, **members})


def make_platform(text: str) -> Platform:
    os, architecture, variant = (*text.split("/"), "")[:3]
    return Platform(os, architecture, variant)


def make_index(*platforms: str) -> Index:
    entries = [
        Descriptor(mediatype.OCI_MANIFEST, f"sha256:{n:064x}", n, platform=make_platform(text))
        for n, text in enumerate(platforms)
    ]
    return Index(schema_version=2, manifests=tuple(entries))


@pytest.mark.parametrize("media_type", [mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST, ""])
def test_a_manifest_of_either_kind(media_type: str) -> None:
    raw = encode(mediaType=media_type, config=BLOB, layers=[BLOB, BLOB])
    manifest = parse_manifest(raw, media_type)
    assert manifest == Manifest(2, BLOB, (BLOB, BLOB), media_type=media_type)


@pytest.mark.parametrize("media_type", [mediatype.OCI_INDEX, mediatype.DOCKER_LIST, "", "text/plain"])
def test_an_index_of_either_kind(media_type: str) -> None:
    index = parse_manifest(encode(manifests=[BLOB]), media_type)
    assert index == Index(2, (BLOB,))


def test_a_manifest_survives_json() -> None:
    manifest = Manifest(2, BLOB, (BLOB,), media_type=mediatype.OCI_MANIFEST, annotations={"a": "b"})
    assert parse_manifest(json.encode(manifest)) == manifest


def test_null_members_are_absent_ones() -> None:
    raw = encode(config=BLOB, layers=[BLOB], annotations=None, subject=None)
    assert parse_manifest(raw) == Manifest(2, BLOB, (BLOB,))


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (encode(config=BLOB, layers=[], manifests=[]), ""),
        (encode(manifests=[]), mediatype.OCI_MANIFEST),
        (encode(config=BLOB, layers=[]), mediatype.DOCKER_LIST),
        (encode(mediaType=mediatype.OCI_INDEX, config=BLOB, layers=[]), ""),
        (encode(mediaType=mediatype.DOCKER_MANIFEST, config=BLOB, layers=[]), mediatype.OCI_MANIFEST),
    ],
)
def test_one_document_cannot_be_two_things(raw: bytes, media_type: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_manifest(raw, media_type)


@pytest.mark.parametrize("media_type", ["", *mediatype.SCHEMA_1])
def test_schema_1_is_refused_with_a_hint(media_type: str) -> None:
    with pytest.raises(Unimplemented) as caught:
        parse_manifest(b'{"schemaVersion":1,"fsLayers":[]}', media_type)
    assert caught.value.hint


def test_an_error_carries_the_path() -> None:
    raw = encode(config=BLOB, layers=[BLOB, {"mediaType": "a", "digest": "sha256:ab", "size": "3"}])
    with pytest.raises(InvalidArgument, match=r"^x: layers\[1\]\.size: "):
        parse_manifest(raw, what="x")


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64", "windows/amd64"], 1),
        ("linux/arm64", ["linux/arm64"], 0),
        ("linux/arm64", ["linux/arm64", "linux/arm64/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], 2),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/riscv64/x", ["linux/riscv64"], 0),
    ],
)
def test_the_best_platform_is_chosen(wanted: str, offered: list[str], chosen: int) -> None:
    assert select_platform(make_index(*offered), parse_platform(wanted)).size == chosen


@pytest.mark.parametrize("offered", [["linux/arm64"], ["linux/amd64/v3"], ["unknown/unknown"], []])
def test_a_missing_platform_is_not_found(offered: list[str]) -> None:
    with pytest.raises(NotFound) as caught:
        select_platform(make_index(*offered), parse_platform("linux/amd64"), "x")
    assert all(name in caught.value.hint for name in offered)


def test_a_lone_entry_without_platform_is_taken() -> None:
    assert select_platform(Index(2, (BLOB,)), parse_platform("linux/amd64")) == BLOB
    with pytest.raises(NotFound):
        select_platform(Index(2, (BLOB, BLOB)), parse_platform("linux/amd64"))
