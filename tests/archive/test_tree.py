import os

import pytest

from rundlet.archive.inherit import copy_implied
from rundlet.archive.pack import Member, write_tar
from rundlet.archive.tree import make_root, remove_tree
from rundlet.errors import InvalidArgument, NotFound
from rundlet.kernel.openat2 import open_in_root

DEPTH = 1500  # deeper than Python recurses, and than a path may be long


def make_deep(root):
    fd = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("deeper", dir_fd=fd)
        below = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "w") as file:
        file.write("x")
    os.close(fd)


def test_a_tree_of_any_depth_is_removed(tmp_path):
    (tmp_path / "tree").mkdir()
    make_deep(tmp_path / "tree")
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_removal_does_not_follow_links(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (tmp_path / "tree/inner").mkdir(parents=True)
    os.symlink("../outside", tmp_path / "tree/link")
    os.symlink("../../outside", tmp_path / "tree/inner/link")
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["file"]


def test_removing_a_link_instead_of_a_directory_is_an_error(tmp_path):
    (tmp_path / "outside").mkdir()
    os.symlink("outside", tmp_path / "link")
    with pytest.raises(OSError, match="link"):
        remove_tree(str(tmp_path / "link"))
    assert (tmp_path / "outside").exists()


def test_removing_nothing_is_fine(tmp_path):
    remove_tree(str(tmp_path / "missing"))


def test_a_root_is_0755_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        make_root(str(tmp_path / "root"))
    finally:
        os.umask(before)
    assert oct(os.stat(tmp_path / "root").st_mode) == "0o40755"


def test_open_in_root_stays_inside(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text("inside")
    os.symlink("/etc/passwd", tmp_path / "root/link")
    root_fd = os.open(tmp_path / "root", os.O_RDONLY)
    try:
        for path in ("link", "../../etc/passwd", b"/etc/passwd"):
            with open(open_in_root(root_fd, path, os.O_RDONLY)) as file:
                assert file.read() == "inside"
        with pytest.raises(FileNotFoundError, match="missing"):
            open_in_root(root_fd, "missing", os.O_RDONLY)
    finally:
        os.close(root_fd)


def test_implied_directories_look_as_below(tmp_path):
    for name in ("upper/a/b", "middle/a", "lower/a/b"):
        (tmp_path / name).mkdir(parents=True)
    os.chmod(tmp_path / "middle/a", 0o711)
    os.chmod(tmp_path / "lower/a", 0o700)
    os.chmod(tmp_path / "lower/a/b", 0o1777)
    os.utime(tmp_path / "lower/a/b", ns=(5, 5))
    os.utime(tmp_path / "middle/a", ns=(7, 7))
    (tmp_path / "upper/own").mkdir(mode=0o750)
    lower = [str(tmp_path / "middle"), str(tmp_path / "lower")]
    copy_implied(str(tmp_path / "upper"), lower, [b"", b"a", b"a/b", b"own"])
    assert oct(os.stat(tmp_path / "upper/a").st_mode) == "0o40711"
    assert os.stat(tmp_path / "upper/a").st_mtime_ns == 7
    assert oct(os.stat(tmp_path / "upper/a/b").st_mode) == "0o41777"
    assert os.stat(tmp_path / "upper/a/b").st_mtime_ns == 5
    assert oct(os.stat(tmp_path / "upper/own").st_mode) == "0o40750"


def test_equal_members_give_equal_bytes(tmp_path):
    (tmp_path / "program").write_bytes(b"code")
    members = [
        Member("usr/bin/program", 0o755, source=str(tmp_path / "program")),
        Member("usr", 0o755),
        Member("etc/motd", 0o644, data=b"hello"),
        Member("bin", 0o777, link="usr/bin"),
    ]
    with open(tmp_path / "one", "wb") as one, open(tmp_path / "two", "wb") as two:
        write_tar(members, one)
        os.utime(tmp_path / "program")
        write_tar([*reversed(members), members[1]], two)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_path_packed_twice_is_refused(tmp_path):
    with open(tmp_path / "out", "wb") as out, pytest.raises(InvalidArgument, match="x"):
        write_tar([Member("x", 0o644, data=b"1"), Member("x", 0o644, data=b"2")], out)


def test_a_missing_source_is_named(tmp_path):
    with open(tmp_path / "out", "wb") as out, pytest.raises(NotFound, match="no/such"):
        write_tar([Member("x", 0o644, source="/no/such")], out)
