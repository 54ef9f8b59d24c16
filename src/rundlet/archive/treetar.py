"""A directory tree as a layer: the same tree gives the same bytes, whoever packs it, wherever it lies.

What overlayfs and image-spec write differently is put into image-spec's words: a character
device 0:0 becomes `.wh.NAME`, an opaque directory `.wh..wh..opq`.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rundlet.archive import tar
from rundlet.archive.pack import Writable
from rundlet.archive.tar import Entry
from rundlet.archive.walk import Found, open_file, read_xattrs, walk_tree
from rundlet.archive.writer import TarWriter
from rundlet.kernel.failure import translating
from rundlet.kernel.overlay import PREFIXES, opaque_xattr

_READ_BYTES: Final = 1 << 20
_KINDS: Final = {
    stat.S_IFREG: tar.FILE,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHAR,
    stat.S_IFBLK: tar.BLOCK,
    stat.S_IFIFO: tar.FIFO,
}


class Normal(NamedTuple):
    """What every entry is given instead of its own: `owner` (uid, gid) and `mtime_ns`; None leaves it."""

    owner: tuple[int, int] | None = None
    mtime_ns: int | None = None


def pack_tree(
    root: str,
    out: Writable,
    *,
    normal: Normal = Normal(),  # noqa: B008  immutable
    prefix: bytes = b"",
    choose: Callable[[bytes], bool] = lambda _path: True,
    whiteouts: tuple[bytes, ...] = (),
) -> None:
    """Write the tree at `root` as a tar, its paths below `prefix`.

    Only paths for which `choose` says so are packed; `whiteouts` are paths that are gone, as they
    will be in the image.  Sockets are left out, as in every image tool.
    Raises InvalidArgument for a file that changes meanwhile, and what the disk raises.
    """
    writer = TarWriter(out)
    with translating(f"pack {root}"):
        for path in sorted(whiteouts):
            writer.add(make_whiteout(path, normal))
        seen: dict[tuple[int, int], bytes] = {}
        for found in walk_tree(root):
            if choose(found.path):
                _add(writer, found, prefix, normal, seen)
    writer.finish()


def make_whiteout(path: bytes, normal: Normal = Normal()) -> Entry:  # noqa: B008  immutable
    """The entry that says that `path` of the layers below is gone; "DIR/.wh..opq" for all in DIR."""
    head, slash, name = path.rpartition(b"/")
    return Entry(tar.FILE, head + slash + b".wh." + name, b"", 0o600, 0, 0, normal.mtime_ns or 0, 0, (0, 0))


def _add(
    writer: TarWriter, found: Found, prefix: bytes, normal: Normal, seen: dict[tuple[int, int], bytes]
) -> None:
    path = b"/".join(part for part in (prefix, found.path) if part)
    status = found.status
    if _is_whiteout(status):
        mtime_ns = status.st_mtime_ns if normal.mtime_ns is None else normal.mtime_ns
        writer.add(make_whiteout(path)._replace(mtime_ns=mtime_ns))
        return
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return
    inode = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and not found.is_directory() and inode in seen:
        writer.add(_make_entry(tar.HARDLINK, path, found, normal)._replace(link=seen[inode], xattrs=()))
        return
    seen[inode] = path
    entry = _make_entry(kind, path, found, normal)
    writer.add(entry, _read_content(found) if kind == tar.FILE else ())
    if kind == tar.DIRECTORY and (opaque_xattr(), b"y") in read_xattrs(found):
        writer.add(make_whiteout(path + b"/.wh..opq", normal))


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _make_entry(kind: bytes, path: bytes, found: Found, normal: Normal) -> Entry:
    status = found.status
    uid, gid = normal.owner or (status.st_uid, status.st_gid)
    device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return Entry(
        kind,
        path,
        os.readlink(found.where) if kind == tar.SYMLINK else b"",
        stat.S_IMODE(status.st_mode),
        uid,
        gid,
        status.st_mtime_ns if normal.mtime_ns is None else normal.mtime_ns,
        status.st_size if kind == tar.FILE else 0,
        device if kind in {tar.CHAR, tar.BLOCK} else (0, 0),
        tuple(pair for pair in read_xattrs(found) if not pair[0].startswith(PREFIXES)),
    )


def _read_content(found: Found) -> Iterator[bytes]:
    """As much as the file had when it was found: one that grows gives an archive that is whole."""
    left_bytes = found.status.st_size
    with open(open_file(found), "rb", 0) as file:
        while left_bytes and (data := file.read(min(left_bytes, _READ_BYTES))):
            left_bytes -= len(data)
            yield data
