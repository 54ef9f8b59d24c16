"""Tests marked `vm` boot a QEMU guest; only `nox -s vm` (or `-m vm`) runs them."""

from pathlib import Path

import pytest

from tests.vm.guest import boot, missing, write_archive

REASON = "boots a virtual machine: nox -s vm runs it"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "vm" in config.getoption("-m").replace("not vm", ""):
        return
    for item in items:
        if item.get_closest_marker("vm") is not None:
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory):
    """What the checks of "unified", "systemd" or "hybrid" found, each in a guest that is booted once."""
    found: dict[str, dict[str, str]] = {}

    def look_up(kind: str) -> dict[str, str]:
        if kind not in found:
            found[kind] = _run_guest(kind, tmp_path_factory.mktemp("guest"))
        return found[kind]

    return look_up


def _run_guest(kind: str, directory: Path) -> dict[str, str]:
    if lacking := missing(kind):
        pytest.skip(f"{lacking} not on this host: tools/setup.sh debian-vm")
    archive = directory / "initramfs"
    write_archive(archive, kind)
    try:
        return boot(archive, directory / "console.log", kind)
    finally:
        archive.unlink()
