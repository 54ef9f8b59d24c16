"""Deterministic tars: equal members give equal bytes, whoever packs them, whenever.

Order, times, owners' names and header form are fixed; PAX headers appear only where ustar
has no room.
"""

import io
import tarfile
from collections.abc import Iterable
from typing import IO, NamedTuple, Protocol, cast

from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating


class Writable(Protocol):
    """Where a tar goes."""

    def write(self, data: bytes, /) -> int: ...


class Member(NamedTuple):
    """One entry at `path` (from the root, without a leading slash).

    A directory unless `source` (a file of the host whose content is copied), `data` or
    `link` (a symbolic link's text) says otherwise.
    """

    path: str
    mode: int
    source: str = ""
    data: bytes | None = None
    link: str = ""
    uid: int = 0
    gid: int = 0


def write_tar(members: Iterable[Member], out: Writable, *, mtime_s: int = 0) -> None:
    """Write `members`, ordered by path, as a tar to `out`.

    Raises InvalidArgument for a path twice, NotFound and the like for a `source`.
    """
    by_path: dict[str, Member] = {}
    for member in members:
        if by_path.setdefault(member.path, member) != member:
            raise InvalidArgument(f"archive member {member.path!r} is there twice")
    with tarfile.open(fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(by_path):
            _add(archive, by_path[path], mtime_s)


def _add(archive: tarfile.TarFile, member: Member, mtime_s: int) -> None:
    info = tarfile.TarInfo(member.path)
    info.mode, info.uid, info.gid, info.mtime = member.mode, member.uid, member.gid, mtime_s
    if member.source:
        with translating(f"pack {member.source}"), open(member.source, "rb") as file:
            info.size = file.seek(0, io.SEEK_END)
            file.seek(0)
            archive.addfile(info, file)
    elif member.data is not None:
        info.size = len(member.data)
        archive.addfile(info, io.BytesIO(member.data))
    else:
        info.type = tarfile.SYMTYPE if member.link else tarfile.DIRTYPE
        info.linkname = member.link
        archive.addfile(info)
