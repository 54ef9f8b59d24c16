"""Every parser of the room under hostile input: a value or a rundlet error, nothing else."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import Error
from rundlet.spec import cni, descriptor, digest, image, manifest, mediatype, reference
from rundlet.spec.json import decode
from rundlet.spec.runtime import RuntimeConfig

SUM = "sha256:" + "ab" * 32
DESCRIPTOR = {
    "mediaType": mediatype.OCI_LAYER_GZIP,
    "digest": SUM,
    "size": 3,
    "urls": ["https://example.test/x"],
    "annotations": {"a": "b"},
    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.features": ["x"]},
}
MANIFEST = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR], "annotations": None}
INDEX = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": [DESCRIPTOR]}
IMAGE = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": ["A=b"], "Cmd": None, "ExposedPorts": {"80/tcp": {}}, "Labels": {"a": "b"}},
    "rootfs": {"type": "layers", "diff_ids": [SUM]},
    "history": [{"created_by": "x", "empty_layer": True}],
}
CONF_LIST = {
    "cniVersion": "1.0.0",
    "cniVersions": ["1.1.0"],
    "name": "net",
    "disableCheck": "true",
    "plugins": [{"type": "bridge", "capabilities": {"ips": True}, "ipam": {"type": "host-local"}}],
}
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x"}],
    "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
    "dns": {"nameservers": ["10.1.0.1"]},
}
OLD_RESULT = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
}
RUNTIME = {
    "ociVersion": "1.2.0",
    "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 1}},
    "linux": {"namespaces": [{"type": "pid"}]},
}

DOCUMENTS: dict[str, tuple[Callable[[bytes], object], dict[str, Any]]] = {
    "manifest": (manifest.parse_manifest, MANIFEST),
    "index": (lambda raw: manifest.parse_manifest(raw, mediatype.OCI_INDEX), INDEX),
    "image config": (image.parse_image_config, IMAGE),
    "conf list": (cni.parse_network_conf, CONF_LIST),
    "conf": (cni.parse_network_conf, {"cniVersion": "0.2.0", "name": "n", "type": "loopback"}),
    "result": (cni.parse_result, RESULT),
    "old result": (cni.parse_result, OLD_RESULT),
    "plugin error": (cni.parse_error, {"code": 7, "msg": "x"}),
    "runtime config": (lambda raw: decode(raw, RuntimeConfig, "config.json"), RUNTIME),
}
TEXTS: dict[str, Callable[[str], object]] = {
    "digest": digest.parse_digest,
    "reference": reference.parse_reference,
    "platform": descriptor.parse_platform,
}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)

each_document = pytest.mark.parametrize("name", DOCUMENTS)
each_text = pytest.mark.parametrize("name", TEXTS)


def parse_or_refuse(parse: Callable[[Any], object], value: object) -> None:
    error = None
    try:
        parse(value)
    except Error as caught:
        error = caught
    assert error is None or (error.message and "\n" not in error.message)


def paths_of(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in paths_of(item, (*path, key)))]


def replace_at(document: Any, path: tuple[Any, ...], value: object) -> object:
    if not path:
        return value
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@each_document
def test_the_example_parses(name: str) -> None:
    parse, document = DOCUMENTS[name]
    parse(json.dumps(document).encode())


@each_document
@given(raw=st.binary())
def test_any_bytes(name: str, raw: bytes) -> None:
    parse_or_refuse(DOCUMENTS[name][0], raw)


@each_document
@given(value=VALUES)
def test_any_json(name: str, value: object) -> None:
    parse_or_refuse(DOCUMENTS[name][0], json.dumps(value).encode())


@each_document
@given(data=st.data())
def test_a_good_document_with_one_value_replaced(name: str, data: st.DataObject) -> None:
    parse, document = DOCUMENTS[name]
    path = data.draw(st.sampled_from(paths_of(document)))
    changed = replace_at(document, path, data.draw(VALUES))
    parse_or_refuse(parse, json.dumps(changed).encode())


@each_document
def test_a_document_nested_beyond_reason(name: str) -> None:
    parse_or_refuse(DOCUMENTS[name][0], b'{"a":' * 100_000)
    parse_or_refuse(DOCUMENTS[name][0], b"[" * 100_000 + b"]" * 100_000)


@each_text
@given(text=st.text())
def test_any_text(name: str, text: str) -> None:
    parse_or_refuse(TEXTS[name], text)


@each_text
@given(text=st.text("abAB01:/@.-_[]\n ", max_size=40))
def test_any_text_of_the_alphabet_of_references(name: str, text: str) -> None:
    parse_or_refuse(TEXTS[name], text)


@pytest.mark.parametrize("half", ["\ud800x", "\udfff"])
def test_half_a_surrogate_pair_is_refused_where_it_is_read(half: str) -> None:
    """Nothing could write it again: neither the database nor an answer."""
    with pytest.raises(Error):
        image.parse_image_config(json.dumps(IMAGE | {"author": half}).encode())
    with pytest.raises(Error):
        manifest.parse_manifest(json.dumps(MANIFEST | {"annotations": {"a": half}}).encode())
    decode(r'["\ud83d\ude00"]', list, "a whole pair")


def test_a_media_type_that_is_no_text_is_refused() -> None:
    with pytest.raises(Error, match="mediaType"):
        manifest.parse_manifest(json.dumps(MANIFEST | {"mediaType": []}).encode())
