"""One file out of stacked layers, as overlayfs would show it."""

import os
from pathlib import Path

import pytest

from rundlet.engine.rootfs import find_directory, read_file
from rundlet.errors import InvalidArgument

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for device nodes and trusted xattrs")


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """Top, bottom; the bottom has etc/passwd."""
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    for layer in (top, bottom):
        (layer / "etc").mkdir(parents=True)
    (bottom / "etc/passwd").write_text("bottom")
    return [top, bottom]


def read(layers: list[Path], path: str = "/etc/passwd") -> bytes:
    return read_file([str(layer) for layer in layers], path)


def test_the_topmost_file_wins(layers):
    assert read(layers) == b"bottom"
    (layers[0] / "etc/passwd").write_text("top")
    assert read(layers) == b"top"


def test_absent_is_empty(layers):
    assert read(layers, "/etc/group") == b""
    assert read(layers, "/nowhere/at/all") == b""
    assert read(layers, "/etc/passwd/below") == b""


@needs_root
def test_whiteouts_hide(layers):
    os.mknod(layers[0] / "etc/passwd", 0o20000, os.makedev(0, 0))
    assert read(layers) == b""


@needs_root
def test_a_whiteout_of_the_directory_hides(layers):
    (layers[0] / "etc").rmdir()
    os.mknod(layers[0] / "etc", 0o20000, os.makedev(0, 0))
    assert read(layers) == b""


@needs_root
def test_opaque_directories_hide(layers):
    os.setxattr(layers[0] / "etc", "trusted.overlay.opaque", b"y")
    assert read(layers) == b""


def test_links_stay_inside(layers, tmp_path):
    (tmp_path / "secret").write_text("of the host")
    (layers[0] / "etc/passwd").symlink_to(tmp_path / "secret")
    assert read(layers) == b""
    (layers[0] / "etc/passwd").unlink()
    (layers[0] / "etc/passwd").symlink_to("../../../../etc/real")
    (layers[1] / "etc/real").write_text("real")
    assert read(layers) == b"real"


def test_a_linked_directory_is_followed_through_the_layers(layers):
    (layers[0] / "etc").rmdir()
    (layers[0] / "etc").symlink_to("/usr/etc")
    (layers[1] / "usr/etc").mkdir(parents=True)
    (layers[1] / "usr/etc/passwd").write_text("moved")
    assert read(layers) == b"moved"


def test_loops_end(layers):
    (layers[0] / "etc/passwd").symlink_to("passwd")
    with pytest.raises(InvalidArgument):
        read(layers)


def test_what_is_no_file_is_empty(layers):
    os.mkfifo(layers[0] / "etc/passwd")
    assert read(layers) == b""


def test_a_huge_file_is_refused(layers):
    os.truncate(layers[1] / "etc/passwd", 1 << 30)
    with pytest.raises(InvalidArgument):
        read(layers)


def test_a_directory_is_found_through_the_layers(layers):
    (layers[1] / "srv").mkdir(mode=0o700)
    (layers[0] / "link").symlink_to("/srv")
    assert find_directory(list(map(str, layers)), "/link").st_mode & 0o777 == 0o700
    assert find_directory(list(map(str, layers)), "/etc/passwd") is None
    assert find_directory(list(map(str, layers)), "/absent/below") is None
