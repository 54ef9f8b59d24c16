"""Layers: whatever a tar holds, nothing outside the target is made or changed; what we pack reads as the same."""

import io
import os
import tempfile

from rundlet.archive.apply import Limits, apply_layer
from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import TarReader
from rundlet.archive.tree import make_root, remove_tree
from rundlet.archive.writer import TarWriter
from tests.archive.hostile import CORPUS
from tests.fuzz.mutation import of_tar

SEEDS = tuple(data for data in CORPUS.values() if len(data) <= 16 << 10 and len(data) % 512 == 0)
MUTATE = of_tar
_LIMITS = Limits(size_bytes=16 << 20, entries=2000)


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="rundlet-fuzz-") as place:
        target = f"{place}/target"
        make_root(target)
        with open(f"{place}/beside", "wb") as file:
            file.write(b"untouched")
        before = _outside(place)
        try:
            apply_layer(io.BytesIO(data), target, limits=_LIMITS, devices=False)
        finally:
            remove_tree(target)
            assert _outside(place) == before
    _check_writer(data)


def _outside(place: str) -> list[tuple[str, int, int, int, int]]:
    found = []
    for directory in (place, os.path.dirname(place)):
        for name in ("beside", "escape", "target", "a", "b"):
            path = f"{directory}/{name}"
            if os.path.lexists(path) and name != "target":
                status = os.lstat(path)
                found.append((path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink))
    return found


def _check_writer(data: bytes) -> None:
    """Entries without content, as the reader gave them, written and read again."""
    entries = [
        entry._replace(
            mode=entry.mode & 0o7777, size_bytes=0, xattrs=tuple(sorted(entry.xattrs)), segments=None
        )
        for entry in TarReader(ByteStream(iter([data]), 16 << 20))
        if entry.path
    ]
    out = io.BytesIO()
    writer = TarWriter(out)
    for entry in entries:
        assert not entry.path.startswith(b"/")
        assert b".." not in entry.path.split(b"/")
        writer.add(entry)
    writer.finish()
    assert list(TarReader(ByteStream(iter([out.getvalue()]), 16 << 20))) == entries
