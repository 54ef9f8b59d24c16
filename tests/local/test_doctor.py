"""The look at a host."""

import os
from pathlib import Path

import pytest

from rundlet.local.doctor import Host, examine
from rundlet.local.settings import Places
from rundlet.rootless.facts import Finding


def look(tmp_path: Path, uid: int) -> dict[str, Finding]:
    places = Places(str(tmp_path / "none" / "yet"), str(tmp_path), str(tmp_path))
    return {finding.name: finding for finding in examine(Host(places, uid))}


@pytest.mark.parametrize("uid", [0, 12345])
def test_every_finding_says_what_it_is_about(tmp_path: Path, uid: int) -> None:
    found = look(tmp_path, uid)
    assert {"kernel", "user namespaces", "overlay", "cgroups", "disk"} <= found.keys()
    assert all(finding.message for finding in found.values())
    assert all(not finding.hint for finding in found.values() if finding.level == "ok")


def test_the_disk_is_that_of_the_root_to_be(tmp_path: Path) -> None:
    assert str(tmp_path) in look(tmp_path, 0)["disk"].message


@pytest.mark.kernel
def test_root_of_this_machine_can_run_containers(tmp_path: Path) -> None:
    assert os.geteuid() == 0
    assert not [finding for finding in look(tmp_path, 0).values() if finding.level == "fault"]
