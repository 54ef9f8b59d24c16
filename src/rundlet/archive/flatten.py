"""Layers one over the other in a plain directory: what a whiteout hides is removed.

A whiteout counts for the layers below it alone, wherever in its archive it stands, so an
archive is read twice: once for what it hides, once for what it brings.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from rundlet.archive.apply import OPAQUE, WHITEOUT, LayerStats, apply_layer, is_bookkeeping, show_path
from rundlet.archive.compression import Readable, open_decompressed
from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import TarReader
from rundlet.archive.tree import remove_tree
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.kernel.namespace import can_make_devices
from rundlet.kernel.openat2 import open_in_root

_LIMIT_BYTES = 256 << 30
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

OpenLayer = Callable[[], AbstractContextManager[Readable]]


class Hidden(NamedTuple):
    """`paths` that are gone, and directories of which everything is."""

    paths: tuple[bytes, ...]
    directories: tuple[bytes, ...]


def flatten_layer(open_layer: OpenLayer, target_dir: str, *, algorithm: str = "sha256") -> LayerStats:
    """Put a layer over what `target_dir` holds already.  `open_layer` gives the archive anew at every call.

    Raises as `apply_layer`.
    """
    with open_layer() as source:
        hidden = read_hidden(source)
    with translating(f"unpack into {target_dir}"):
        root_fd = os.open(target_dir, _OPEN_DIRECTORY)
        try:
            for path in hidden.directories:
                _empty(root_fd, path)
            for path in hidden.paths:
                _remove(root_fd, path)
        finally:
            os.close(root_fd)
    with open_layer() as source:
        return apply_layer(source, target_dir, devices=can_make_devices(), marks=False, algorithm=algorithm)


def read_hidden(source: Readable) -> Hidden:
    """What the archive hides of the layers below it.  Raises InvalidArgument."""
    paths: list[bytes] = []
    directories: list[bytes] = []
    for entry in TarReader(ByteStream(open_decompressed(source), _LIMIT_BYTES)):
        head, slash, name = entry.path.rpartition(b"/")
        if not name.startswith(WHITEOUT) or is_bookkeeping(entry.path):
            continue
        if name == OPAQUE:
            directories.append(head)
            continue
        hidden = name.removeprefix(WHITEOUT)
        if hidden in {b"", b".", b".."}:
            raise InvalidArgument(f"layer entry {show_path(entry.path)}: this whiteout names nothing")
        paths.append(head + slash + hidden)
    return Hidden(tuple(paths), tuple(directories))


def _remove(root_fd: int, path: bytes) -> None:
    head, _, name = path.rpartition(b"/")
    parent_fd = _open_directory(root_fd, head)
    if parent_fd >= 0:
        try:
            _remove_entry(parent_fd, name)
        finally:
            os.close(parent_fd)


def _empty(root_fd: int, path: bytes) -> None:
    fd = _open_directory(root_fd, path)
    if fd >= 0:
        try:
            for name in os.listdir(fd):
                _remove_entry(fd, os.fsencode(name))
        finally:
            os.close(fd)


def _open_directory(root_fd: int, path: bytes) -> int:
    """A descriptor of the directory `path`, -1 when there is none."""
    try:
        return open_in_root(root_fd, path or b".", _OPEN_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _remove_entry(parent_fd: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        remove_tree(name, parent_fd)
