"""The walk's self-check, on real processes, files and the real /proc."""

import os
import subprocess
from pathlib import Path

from rundlet.cli import walk_check
from rundlet.cli.walk_check import Leftover, Scope, Traces

NOTHING = Traces(*(frozenset[str]() for _ in Traces._fields))


def scope_of(folder: Path) -> Scope:
    return Scope(run_root=str(folder / "run"), cni_dir=str(folder / "cni"), marks=(str(folder),))


def test_nothing_new_is_nothing_left(tmp_path: Path) -> None:
    before = walk_check.take_traces(scope_of(tmp_path))
    assert walk_check.compare_traces(before, before) == ()


def test_what_was_there_before_does_not_count() -> None:
    before = NOTHING._replace(cgroups=frozenset({"/old"}))
    after = NOTHING._replace(cgroups=frozenset({"/old", "/new"}))
    assert walk_check.compare_traces(before, after) == (Leftover("cgroups", "/new"),)


def test_files_under_the_run_root_are_found_and_empty_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "run" / "pods" / "empty").mkdir(parents=True)
    (tmp_path / "run" / "keeper").mkdir()
    os.mkfifo(tmp_path / "run" / "keeper" / "gate")
    found = walk_check.take_traces(scope_of(tmp_path)).files
    assert found == {str(tmp_path / "run" / "keeper" / "gate")}


def test_leases_are_addresses_and_results_but_not_the_books(tmp_path: Path) -> None:
    network = tmp_path / "cni" / "networks" / "mynet"
    network.mkdir(parents=True)
    for name in ("10.88.0.2", "last_reserved_ip.0", "lock"):
        (network / name).touch()
    assert set(walk_check.list_leases(str(tmp_path / "cni"))) == {str(network / "10.88.0.2")}


def test_a_process_is_found_and_its_end_is_awaited(tmp_path: Path) -> None:
    scope = scope_of(tmp_path)
    before = walk_check.take_traces(scope)
    mark = tmp_path / "fifo"
    os.mkfifo(mark)
    with subprocess.Popen(["cat", str(mark)]) as process, open(mark, "wb"):
        left = walk_check.await_nothing_left(before, scope, timeout_s=0)
        assert [item.kind for item in left] == ["processes"]
        assert str(process.pid) in left[0].name
    assert walk_check.await_nothing_left(before, scope, timeout_s=5) == ()
