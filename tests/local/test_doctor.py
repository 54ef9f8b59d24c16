"""The look at a host."""

import os
from pathlib import Path

import pytest

from rundlet.local.doctor import Finding, Host, examine
from rundlet.local.settings import Places


def look(tmp_path: Path, uid: int) -> dict[str, Finding]:
    places = Places(str(tmp_path / "none" / "yet"), str(tmp_path), str(tmp_path))
    return {finding.name: finding for finding in examine(Host(places, uid))}


def test_every_finding_that_is_not_well_says_what_to_do(tmp_path: Path) -> None:
    for uid in (0, 12345):
        for finding in look(tmp_path, uid).values():
            assert finding.found
            assert bool(finding.advice) == (finding.state != "ok")


def test_a_user_without_ranges_is_told_how_to_get_them(tmp_path: Path) -> None:
    found = look(tmp_path, 54321)["user ids"]
    assert found.state == "warning"
    assert "usermod --add-subuids" in found.advice


def test_the_disk_is_that_of_the_root_to_be(tmp_path: Path) -> None:
    assert str(tmp_path) in look(tmp_path, 0)["disk"].found


@pytest.mark.kernel
def test_root_of_this_machine_can_run_containers(tmp_path: Path) -> None:
    assert os.geteuid() == 0
    assert not [finding for finding in look(tmp_path, 0).values() if finding.state == "problem"]
