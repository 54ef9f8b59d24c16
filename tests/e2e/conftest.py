"""What whole walks need: a folder, the network's files, an image to pull; in a node of one's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.cli import walk_image
from rundlet.cli.walk_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Addresses are given out from the first one again: /var/lib/cni is the node's own."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server not on this host")
    shutil.rmtree("/var/lib/cni/networks", ignore_errors=True)
    with Place.make(keep=False, base=str(tmp_path / "walk")) as made:
        made.write_network()
        made.write_config("builtin")
        yield made


@pytest.fixture
def reference(place: Place) -> Iterator[str]:
    with walk_image.serve_image("", place) as served:
        place.write_pod(served)
        yield served
