"""Copying a named image into the walk's registry, between two real registries on loopback."""

import shutil
from pathlib import Path

import pytest

from rundlet.cli import walk_image
from rundlet.cli.walk_place import Place
from rundlet.errors import NotFound
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.spec.reference import parse_reference


def test_the_local_name_keeps_path_and_tag() -> None:
    assert str(walk_image.local_name("127.0.0.1:5000", "quay.io/crio/redis:alpine")) == (
        "127.0.0.1:5000/crio/redis:alpine"
    )
    assert str(walk_image.local_name("127.0.0.1:5000", "redis")) == "127.0.0.1:5000/library/redis:latest"


def test_a_mirrored_image_is_the_same_image(tmp_path: Path) -> None:
    if shutil.which("true") is None:
        pytest.skip("true not on this host")
    layout = Layout(str(tmp_path / "layout"))
    client = RegistryClient()
    place = Place.make(keep=True, base=str(tmp_path / "walk"))
    with walk_image.serve_registry(str(tmp_path / "far")) as far:
        image = f"{far}/tools/true:1"
        build_host_image(["true"], layout, "true")
        digest = push_image(layout, "true", client, image)
        walk_image.mirror_image(image, place.registry_dir)
    with walk_image.serve_image(image, place, mirrored=True) as near:
        fetched = client.resolve(parse_reference(near))
        _, _, manifest = walk_image.resolve_manifest(client, parse_reference(near))
        for blob in (manifest.config, *manifest.layers):
            client.download_blob(parse_reference(near), blob, str(tmp_path / "blob"))
    client.close()
    assert near.endswith("/tools/true:1")
    assert fetched.digest == digest


def test_an_image_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    place = Place.make(keep=True, base=str(tmp_path / "walk"))
    with walk_image.serve_registry(str(tmp_path / "far")) as far, pytest.raises(NotFound):
        walk_image.mirror_image(f"{far}/no/such:image", place.registry_dir)


def test_an_image_of_the_world_outside_is_pulled_from_there(tmp_path: Path) -> None:
    place = Place.make(keep=True, base=str(tmp_path / "walk"))
    with walk_image.serve_image("quay.io/crio/redis:alpine", place) as reference:
        assert reference == "quay.io/crio/redis:alpine"
