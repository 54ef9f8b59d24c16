from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oci.runtime import Runtime, find_ours, make_rootfs


@pytest.fixture(scope="module")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rootfs for a whole module; tests write their own config.json beside it."""
    directory = tmp_path_factory.mktemp("bundle")
    make_rootfs(directory)
    return directory


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_rootfs(tmp_path)
    return tmp_path


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Runtime]:
    (tmp_path / "ours").mkdir()
    runtime = Runtime(find_ours(), tmp_path / "ours" / "state")
    yield runtime
    for container_id in runtime.leftovers():
        runtime("delete", "--force", container_id)
