"""An archive as a table of its members, read where they lie.

    open_archive("-")          stdin is spooled to a temporary file
    a gzip or zstd archive     is unpacked to a temporary file
    a plain tar                is read in place

Nothing is extracted: a member's name never becomes a path.
"""

import os
import posixpath
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Final, NamedTuple

from rundlet.archive.compression import open_decompressed
from rundlet.errors import DataLoss, InvalidArgument, NotFound
from rundlet.image.files import CHUNK_BYTES, DOCUMENT_BYTES_MAX, verify_chunks
from rundlet.image.transport import Chunks
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest

_MEMBERS_MAX: Final = 100_000
_LINKS_MAX: Final = 8
_TAR_MAGIC: Final = b"ustar"


class Member(NamedTuple):
    offset: int
    size_bytes: int


class TarIndex:
    """The regular files of a tar by name, "./" and links resolved; safe for several threads."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self._file = file
        self._members: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        try:
            self._read_members()
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise InvalidArgument(f"{name}: not a tar archive: {error}") from error

    def _read_members(self) -> None:
        with tarfile.open(fileobj=self._file, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count == _MEMBERS_MAX:
                    raise InvalidArgument(f"{self.name}: more than {_MEMBERS_MAX} members")
                path = posixpath.normpath(member.name)
                if member.isreg() and not member.issparse():
                    self._members[path] = Member(member.offset_data, member.size)
                elif member.islnk():
                    self._links[path] = posixpath.normpath(member.linkname)
                elif member.issym():
                    target = posixpath.join(posixpath.dirname(path), member.linkname)
                    self._links[path] = posixpath.normpath(target)
                archive.members = []  # type: ignore[attr-defined]  # its list would keep them all

    def close(self) -> None:
        self._file.close()

    def find(self, path: str) -> Member | None:
        path = posixpath.normpath(path)
        for _ in range(_LINKS_MAX):
            if path in self._members:
                return self._members[path]
            if path not in self._links:
                return None
            path = self._links[path]
        return None

    def need(self, path: str) -> Member:
        member = self.find(path)
        if member is None:
            raise NotFound(f"{self.name}: the archive has no file {path!r}")
        return member

    def read(self, path: str) -> bytes:
        """A document of the archive; NotFound, DataLoss when it is too long for one."""
        member = self.need(path)
        if member.size_bytes > DOCUMENT_BYTES_MAX:
            raise DataLoss(f"{self.name}: {path} is longer than {DOCUMENT_BYTES_MAX} bytes")
        return b"".join(self.read_chunks(member))

    def read_chunks(self, member: Member) -> Chunks:
        """The member's bytes; DataLoss when the archive ends before."""
        at, left = member.offset, member.size_bytes
        while left:
            chunk = os.pread(self._file.fileno(), min(left, CHUNK_BYTES), at)
            if not chunk:
                raise DataLoss(f"{self.name}: the archive ends {left} bytes early")
            at, left = at + len(chunk), left - len(chunk)
            yield chunk

    @contextmanager
    def open_verified(self, member: Member, digest: Digest, what: str) -> Iterator[Chunks]:
        with translating(self.name):
            yield verify_chunks(self.read_chunks(member), digest, what)


def open_archive(path: str, *, streamed: bool = False, directory: str | None = None) -> TarIndex:
    """The archive at `path`, or on stdin; temporary files lie in `directory` and have no name."""
    name = "stdin" if streamed else path
    with translating(f"archive {name}"), ExitStack() as held:
        source: IO[bytes] = sys.stdin.buffer if streamed else held.enter_context(open(path, "rb"))
        if streamed or os.pread(source.fileno(), 512, 0)[257:262] != _TAR_MAGIC:
            spool = held.enter_context(tempfile.TemporaryFile("w+b", dir=directory))
            spool.writelines(open_decompressed(source))
            spool.seek(0)
            if not streamed:
                source.close()
            source = spool
        index = TarIndex(source, name)
        held.pop_all()  # the index closes it
        return index


@contextmanager
def replacing(path: str, *, streamed: bool) -> Iterator[IO[bytes]]:
    """A file to write an archive to: it appears at `path` when the block ends well; or stdout."""
    if streamed:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = f"{path}.new-{os.getpid()}"
    with translating(f"archive {path}"):
        try:
            with open(draft, "xb") as file:
                yield file
            os.rename(draft, path)
        except BaseException:
            if os.path.exists(draft):
                os.unlink(draft)
            raise
