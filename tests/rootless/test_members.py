"""Files that lead to who lives in a user's namespaces, and whose run root it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet.errors import PermissionDenied
from rundlet.rootless.members import forget_member, note_keeper, note_member, open_member, rootless_dir
from rundlet.rootless.places import claim_run_root
from rundlet.rootless.runroot import find_run_root


def test_a_noted_process_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    assert open_member(str(tmp_path)) == -1
    note_member(str(tmp_path))
    fd = open_member(str(tmp_path))
    assert fd >= 0
    os.close(fd)
    forget_member(str(tmp_path), os.getpid())
    forget_member(str(tmp_path), os.getpid())
    assert open_member(str(tmp_path)) == -1


def test_the_file_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    note_member(str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    members = Path(rootless_dir(str(tmp_path)), "members")
    (members / str(child.pid)).write_text((members / str(os.getpid())).read_text())  # not its start time
    (members / str(os.getpid())).unlink()
    assert open_member(str(tmp_path)) == -1
    assert list(members.iterdir()) == []
    child.kill()
    child.wait()


def test_a_keeper_of_root_is_no_member(tmp_path: Path) -> None:
    note_keeper(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_run_root_is_the_logins_or_one_in_tmp(tmp_path: Path) -> None:
    assert find_run_root({"XDG_RUNTIME_DIR": str(tmp_path)}, 77777) == f"{tmp_path}/rundlet"
    for environ in ({}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": f"{tmp_path}/none"}):
        assert find_run_root(environ, 77777) == "/tmp/rundlet-77777"


def test_a_run_root_that_others_could_have_prepared_is_refused(tmp_path: Path) -> None:
    claim_run_root(f"{tmp_path}/own")
    claim_run_root(f"{tmp_path}/own")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for name, reason in (("open", "others may write to it"), ("link", "it is no directory")):
        with pytest.raises(PermissionDenied, match=reason):
            claim_run_root(f"{tmp_path}/{name}")
