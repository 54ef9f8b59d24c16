"""How the files of two images differ, from the store's unpacked layers.

A layer is in overlayfs's form: a character device 0:0 hides a name below, a directory with
trusted.overlay.opaque=y all that is below it.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rundlet.kernel.failure import translating
from rundlet.kernel.overlay import opaque_xattr


class _Node(NamedTuple):
    """What counts as the file; `content` is a link's text, or when a file was last written and its size."""

    mode: int
    uid: int
    gid: int
    device: int
    content: tuple[int | str, ...]


class Change(NamedTuple):
    """`kind` is "A" for added, "C" for changed, "D" for deleted; `path` begins with "/"."""

    kind: Literal["A", "C", "D"]
    path: str


def compare_stacks(before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    """The differences of two stacks of layer directories, top first, by path.

    What is in a deleted directory is not told apart from it.
    """
    old, new = merge_stack(before), merge_stack(after)
    deleted = ""
    for path in sorted(old.keys() | new.keys()):
        if path not in new:
            if not deleted or not path.startswith(f"{deleted}/"):
                deleted = path
                yield Change("D", path)
        elif path not in old:
            yield Change("A", path)
        elif old[path] != new[path]:
            yield Change("C", path)


def merge_stack(directories: Sequence[str]) -> dict[str, _Node]:
    """The files that overlayfs shows of layer directories, top first, by path."""
    merged: dict[str, _Node] = {}
    for directory in reversed(directories):
        with translating(f"layer {directory}"):
            _lay_over(merged, directory, "")
    return merged


def _lay_over(merged: dict[str, _Node], directory: str, inside: str) -> None:
    with os.scandir(f"{directory}{inside}") as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for name, status in found:
        path = f"{inside}/{name}"
        directory_below = path in merged and stat.S_ISDIR(merged[path].mode)
        is_directory = stat.S_ISDIR(status.st_mode)
        if directory_below and not (is_directory and not _is_opaque(f"{directory}{path}")):
            _hide(merged, path)
        if stat.S_ISCHR(status.st_mode) and not status.st_rdev:
            merged.pop(path, None)
            continue
        merged[path] = _describe(f"{directory}{path}", status)
        if is_directory:
            _lay_over(merged, directory, path)


def _hide(merged: dict[str, _Node], path: str) -> None:
    for each in [each for each in merged if each.startswith(f"{path}/")]:
        del merged[each]


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, opaque_xattr(), follow_symlinks=False) == b"y"
    except OSError:
        return False


def _describe(path: str, status: os.stat_result) -> _Node:
    content: tuple[int | str, ...] = ()
    if stat.S_ISLNK(status.st_mode):
        content = (os.readlink(path),)
    elif stat.S_ISREG(status.st_mode):
        content = (status.st_size, status.st_mtime_ns)
    return _Node(status.st_mode, status.st_uid, status.st_gid, status.st_rdev, content)
