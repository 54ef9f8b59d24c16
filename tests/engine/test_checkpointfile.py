"""The file of a checkpoint: what a container has changed goes in and comes out; memory is criu's matter."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from rundlet.engine import checkpointfile as layout
from rundlet.errors import Error, InvalidArgument
from rundlet.kernel.mount import MNT_DETACH, mount, umount

pytestmark = pytest.mark.kernel

DUMP = layout.Dump(
    "i" * 64, "web", "reg/web@sha256:1", "sha256:2", "web:1", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
)


class Stack:
    """An overlay of one lower directory."""

    def __init__(self, base: Path, lower: Path) -> None:
        self.lower = lower
        self.upper, work, self.view = (base / name for name in ("upper", "work", "view"))
        for path in (self.upper, work, self.view):
            path.mkdir(parents=True)
        self._options = f"lowerdir={lower},upperdir={self.upper},workdir={work}"

    def __enter__(self) -> Path:
        mount("overlay", str(self.view), "overlay", 0, self._options)
        return self.view

    def __exit__(self, *_: object) -> None:
        umount(str(self.view), MNT_DETACH)


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    root = tmp_path / "lower"
    for name in ("etc/old", "etc/kept", "srv/a/one", "srv/a/two", "var/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def change(view: Path) -> None:
    (view / "etc/old").unlink()
    (view / "etc/new").write_text("new")
    os.link(view / "etc/new", view / "etc/again")
    os.setxattr(view / "etc/new", "user.mine", b"\xff1")
    (view / "var/x").unlink()
    (view / "var").rmdir()
    for name in ("one", "two"):
        (view / "srv/a" / name).unlink()
    (view / "srv/a").rmdir()
    (view / "srv/a").mkdir(mode=0o750)
    (view / "srv/a/three").write_text("3")
    (view / "link").symlink_to("/etc/shadow")


def look(view: Path) -> dict[str, object]:
    found = {}
    for path in sorted(view.rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(view))] = (
            oct(info.st_mode),
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else None,
        )
    return found


def make_checkpoint(directory: Path) -> None:
    (directory / layout.IMAGES).mkdir(exist_ok=True)
    (directory / layout.IMAGES / "inventory.img").write_bytes(b"\0")
    (directory / layout.CONFIG).write_text(
        json.dumps(
            {
                "id": "i",
                "name": "web",
                "rootfsImage": "",
                "rootfsImageRef": "",
                "rootfsImageName": "web:1",
                "createdTime": "",
                "checkpointedTime": "",
                "unknown": 1,
            }
        )
    )
    (directory / layout.SPEC).write_text(json.dumps({"ociVersion": "1.2.0"}))


def test_changed_files_come_back(tmp_path: Path, lower: Path) -> None:
    before, out = tmp_path / "before", tmp_path / "out"
    out.mkdir()
    with Stack(before, lower) as view:
        change(view)
        wanted = look(view)
    deleted = layout.write_diff(str(before / "upper"), str(out))
    assert deleted == ["/etc/old", "/srv/a", "/var"]
    (out / layout.DELETED).write_text(json.dumps(deleted))
    stack = Stack(tmp_path / "after", lower)
    layout.apply_diff(str(out), str(stack.upper), (str(lower),))
    with stack as view:
        assert look(view) == wanted
        assert os.getxattr(view / "etc/again", "user.mine") == b"\xff1"


def test_removed_files_of_an_archive_without_directories(tmp_path: Path, lower: Path) -> None:
    os.chmod(lower / "srv/a", 0o711)
    (tmp_path / layout.DELETED).write_text(json.dumps(["/srv/a/one"]))
    stack = Stack(tmp_path / "after", lower)
    layout.apply_diff(str(tmp_path), str(stack.upper), (str(lower),))
    with stack as view:
        assert os.listdir(view / "srv/a") == ["two"]
        assert (view / "srv/a").stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/", "/link/passwd", "a//b"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, lower: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("mine")
    stack = Stack(tmp_path / "after", lower)
    (stack.upper / "link").symlink_to(outside)
    (tmp_path / layout.DELETED).write_text(json.dumps([path]))
    with pytest.raises(Error, match="not a path|hide"):
        layout.apply_diff(str(tmp_path), str(stack.upper), (str(lower),))
    assert os.listdir(outside) == ["passwd"]


def test_the_file_is_whole_and_private(tmp_path: Path) -> None:
    made, back = tmp_path / "made", tmp_path / "back"
    made.mkdir()
    back.mkdir()
    make_checkpoint(made)
    location = tmp_path / "checkpoint.tar"
    layout.pack(str(made), str(location))
    assert location.stat().st_mode & 0o777 == 0o600
    with tarfile.open(location) as archive:
        assert archive.getnames() == ["checkpoint", "config.dump", "spec.dump", "checkpoint/inventory.img"]
    layout.unpack(str(location), str(back))
    assert layout.read_dump(str(back)).rootfs_image_name == "web:1"
    assert layout.read_spec(str(back)).process is None


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (tmp_path / "there.tar").mkdir()
    with pytest.raises(Error, match="there.tar"):
        layout.pack(str(made), str(tmp_path / "there.tar"))
    assert sorted(os.listdir(tmp_path)) == ["made", "there.tar"]


def test_another_tar_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/file").write_text("")
    (tmp_path / "back").mkdir()
    layout.pack(str(tmp_path / "made"), str(tmp_path / "x.tar"))
    with pytest.raises(InvalidArgument, match="config.dump is missing"):
        layout.unpack(str(tmp_path / "x.tar"), str(tmp_path / "back"))
