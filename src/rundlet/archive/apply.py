"""Unpack a layer: a hostile tar into a directory that overlayfs can stack.

image-spec layer.md says what an entry means:

    .wh.NAME          NAME of the layers below is gone      → whiteout
    .wh..wh..opq      all of the layers below is gone here  → opaque directory
    .wh..wh.*         aufs's bookkeeping                    → passed over
    anything else     replaces what has the same path; a directory keeps its content

Both kinds of whiteout count for lower layers only: where this layer has the name as
well, a directory becomes opaque and a file stays as it is.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final, NamedTuple

from isal.isal_zlib import crc32

from rundlet.archive import tar
from rundlet.archive.compression import Readable, open_decompressed
from rundlet.archive.stream import ByteStream, ReadAhead, hash_chunks
from rundlet.archive.tar import Entry, TarReader, clean_path
from rundlet.archive.tree import Tree
from rundlet.errors import Error, FailedPrecondition, InvalidArgument, ResourceExhausted
from rundlet.kernel.failure import translate_os_error, translating
from rundlet.kernel.namespace import can_give_away
from rundlet.kernel.overlay import PREFIXES
from rundlet.spec.digest import Digest, Hasher, digest_hasher

WHITEOUT: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"
_RESERVED: Final = b".wh..wh."
# Overlayfs would take these from a layer as its own word (redirects, metacopy, opaqueness).
_XATTRS_REFUSED: Final = PREFIXES
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SHOWN_BYTES: Final = 200
_NODE_TYPES: Final = {tar.CHAR: stat.S_IFCHR, tar.BLOCK: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}


class Limits(NamedTuple):
    """What one layer may become; far above any real image, far below what kills a host."""

    size_bytes: int = 256 << 30
    entries: int = 10_000_000


class LayerStats(NamedTuple):
    """`size_bytes` of file content and `inodes` that the layer holds; `diff_id` of its tar.

    `implied` are directories without an entry of their own: their owner, mode and times
    belong to the same directory in the layers below (`copy_implied`).
    `checksums` are the CRC-32 of the files by inode number, None for one with holes.
    """

    size_bytes: int
    inodes: int
    diff_id: Digest
    implied: tuple[bytes, ...]
    checksums: Mapping[int, int | None]


def apply_layer(
    source: Readable,
    target_dir: str,
    *,
    limits: Limits = Limits(),  # noqa: B008  immutable
    devices: bool = True,
    marks: bool = True,
    owners: bool = True,
    algorithm: str = "sha256",
    stop: Callable[[], None] | None = None,
) -> LayerStats:
    """Unpack `source` (plain, gzip or zstd tar) into the empty directory `target_dir`.

    Nothing outside `target_dir` is read or written whatever the layer says.  Ownership is
    kept when the process is root, unless `owners` says that all is the process's own; device nodes
    are left out unless `devices`.  Without `marks`
    whiteouts are passed over: `flatten` has taken away what they hide.
    A `source` that may wait has a `stop` that ends the waiting: it is called once nothing more
    is wanted.  On any error the target is half-made and the caller removes it.
    Raises InvalidArgument (the layer is wrong; names the entry), ResourceExhausted (limits,
    disk full), PermissionDenied, and what `source.read` raises.
    """
    hasher = digest_hasher(algorithm)
    with translating(f"unpack into {target_dir}"), ExitStack() as stack:
        chunks = stack.enter_context(ReadAhead(_hashed(source, hasher), stop))
        stream = ByteStream(chunks, limits.size_bytes)
        applier = _Applier(stack.enter_context(Tree(target_dir)), TarReader(stream), devices, marks, owners)
        applier.run(limits.entries)
        stream.drain()
        return LayerStats(
            applier.size_bytes,
            applier.inodes + len(applier.tree.implied),
            Digest(algorithm, hasher.hexdigest()),
            tuple(sorted(applier.tree.implied)),
            applier.checksums,
        )


def _hashed(source: Readable, hasher: Hasher) -> Iterator[bytes]:
    """The decompressed chunks; nothing of `source` is read before the first is asked for."""
    yield from hash_chunks(open_decompressed(source), hasher)


class _Applier:
    """Creates the entries of one archive in `tree`."""

    def __init__(self, tree: Tree, archive: TarReader, devices: bool, marks: bool, owners: bool) -> None:
        self.tree = tree
        self.size_bytes = 0
        self.inodes = 0
        self.checksums: dict[int, int | None] = {}
        self._archive = archive
        self._devices = devices
        self._marks = marks
        self._owns = owners and can_give_away()
        self._directory_times_ns: dict[bytes, int] = {}
        self._create: dict[bytes, Callable[[int, bytes, Entry], None]] = {
            tar.FILE: self._create_file,
            tar.HARDLINK: self._create_hardlink,
            tar.SYMLINK: self._create_symlink,
            tar.CHAR: self._create_node,
            tar.BLOCK: self._create_node,
            tar.FIFO: self._create_node,
        }

    def run(self, entries_max: int) -> None:
        for count, entry in enumerate(self._archive):
            if count >= entries_max:
                raise ResourceExhausted(f"layer has more than {entries_max} entries")
            try:
                self._apply(entry)
            except OSError as error:
                raise _entry_error(error, entry) from error
            except InvalidArgument as error:
                raise InvalidArgument(f"layer entry {show_path(entry.path)}: {error.message}") from error
        self._set_directory_times()

    def _apply(self, entry: Entry) -> None:
        if is_bookkeeping(entry.path):
            return
        if entry.type == tar.DIRECTORY:
            self._apply_directory(entry)
            return
        parent_fd, name = self.tree.parent(entry.path)
        if name.startswith(WHITEOUT):
            self._apply_whiteout(parent_fd, name, entry)
        elif not name:
            raise InvalidArgument("the root must be a directory")
        else:
            self._replace(parent_fd, name, entry)

    def _replace(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        create = self._create[entry.type]
        try:
            create(parent_fd, name, entry)
        except FileExistsError:
            self.tree.remove(parent_fd, name, entry.path)
            self._forget_times(entry.path)
            parent_fd, name = self.tree.parent(entry.path)
            create(parent_fd, name, entry)
        self.inodes += entry.type != tar.HARDLINK

    # --- directories ------------------------------------------------------

    def _apply_directory(self, entry: Entry) -> None:
        path = entry.path
        if path:
            self._make_directory(path)
        self.inodes += path in self.tree.implied or path not in self._directory_times_ns
        self.tree.implied.discard(path)
        self._directory_times_ns[path] = entry.mtime_ns
        fd = self.tree.open_directory(path)
        try:
            self._dress(fd, entry)
        finally:
            os.close(fd)

    def _make_directory(self, path: bytes) -> None:
        """A new directory, or the one that is there; anything else there gives way to it."""
        parent_fd, name = self.tree.parent(path)
        if name.startswith(WHITEOUT):
            raise InvalidArgument("a whiteout must be an empty file")
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            status = os.lstat(name, dir_fd=parent_fd)
            if stat.S_ISDIR(status.st_mode):
                return
            hides = self.tree.is_whiteout(parent_fd, name)
            self.tree.remove(parent_fd, name, path)
            parent_fd, name = self.tree.parent(path)
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            if hides:
                self.tree.mark_opaque(path)

    def _forget_times(self, path: bytes) -> None:
        """What was at `path` has been removed, so it and what it held get no times any more."""
        below = path + b"/"
        gone = [each for each in self._directory_times_ns if each == path or each.startswith(below)]
        for each in gone:
            del self._directory_times_ns[each]
        self.inodes -= len(gone)

    def _set_directory_times(self) -> None:
        """Last, since every entry that is made in a directory touches its time."""
        for path, mtime_ns in self._directory_times_ns.items():
            fd = self.tree.open_directory(path)
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    # --- whiteouts --------------------------------------------------------

    def _apply_whiteout(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        path = entry.path
        if not self._marks:
            return
        if name == OPAQUE:
            self.tree.mark_opaque(path.rpartition(b"/")[0])
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in {b"", b".", b".."}:
            raise InvalidArgument("this whiteout names nothing")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent_fd)
            os.utime(hidden, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
            self.inodes += 1
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent_fd).st_mode):
                self.tree.mark_opaque(path[: -len(name)] + hidden)

    # --- everything else --------------------------------------------------

    def _create_file(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
        try:
            checksum = 0
            if entry.segments is None:
                for piece in self._archive.data():
                    _write(fd, piece)
                    checksum = crc32(piece, checksum)
            else:
                _write_sparse(fd, self._archive.data(), entry)
            self.checksums[os.fstat(fd).st_ino] = checksum if entry.segments is None else None
            self._dress(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self.size_bytes += entry.size_bytes if entry.segments is None else sum(n for _, n in entry.segments)

    def _create_hardlink(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        target = clean_path(entry.link)
        if target == entry.path:
            return
        target_fd, target_name = self.tree.parent(target)
        # the parent may have been closed while the target's was opened
        parent_fd, name = self.tree.parent(entry.path)
        try:
            os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        except PermissionError as error:
            if stat.S_ISDIR(os.lstat(target_name, dir_fd=target_fd).st_mode):
                raise InvalidArgument("a hard link cannot name a directory") from error
            raise

    def _create_symlink(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        os.symlink(entry.link, name, dir_fd=parent_fd)
        self._dress_nofollow(parent_fd, name, entry)

    def _create_node(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        if entry.type != tar.FIFO and not self._devices:
            return
        mode = _NODE_TYPES[entry.type] | 0o600
        os.mknod(name, mode, os.makedev(*entry.device), dir_fd=parent_fd)
        self._dress_nofollow(parent_fd, name, entry)
        os.chmod(name, entry.mode & 0o7777, dir_fd=parent_fd)

    def _dress(self, fd: int, entry: Entry) -> None:
        """Owner, mode, xattrs: in this order, as chown(2) takes setuid bits and capabilities away."""
        if self._owns:
            _give(fd, entry)
        os.fchmod(fd, entry.mode & 0o7777)
        for key, value in entry.xattrs:
            _set_xattr(fd, key, value)

    def _dress_nofollow(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        if self._owns:
            _give(name, entry, parent_fd)
        for key, value in entry.xattrs:
            _set_xattr(b"/proc/self/fd/%d/%s" % (parent_fd, name), key, value)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent_fd, follow_symlinks=False)


def is_bookkeeping(path: bytes) -> bool:
    """aufs's own entries: .wh..wh.plnk/… at the root, and any of that form but the opaque mark."""
    if _RESERVED not in path:
        return False
    name = path.rpartition(b"/")[2]
    return (path.startswith(_RESERVED) and path != OPAQUE) or (name.startswith(_RESERVED) and name != OPAQUE)


def _write(fd: int, piece: memoryview) -> None:
    while (written := os.write(fd, piece)) < len(piece):
        piece = piece[written:]


def _write_sparse(fd: int, pieces: Iterator[memoryview], entry: Entry) -> None:
    """The segments' data, which comes in a row, each at its offset; the rest stays a hole."""
    os.ftruncate(fd, entry.size_bytes)
    piece = memoryview(b"")
    for offset, length in entry.segments or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            piece = piece or next(pieces)
            part = piece[:length]
            _write(fd, part)
            piece = piece[len(part) :]
            length -= len(part)  # noqa: PLW2901  counts down


def _give(what: int | bytes, entry: Entry, dir_fd: int | None = None) -> None:
    """To the entry's owner, who may be nobody in a user namespace."""
    try:
        os.chown(what, entry.uid, entry.gid, dir_fd=dir_fd, follow_symlinks=isinstance(what, int))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FailedPrecondition(
            f"layer entry {show_path(entry.path)}: its owner {entry.uid}:{entry.gid} has no id in this user namespace",
            hint="give the user longer ranges in /etc/subuid and /etc/subgid",
        ) from error


def _set_xattr(where: int | bytes, key: str, value: bytes) -> None:
    """Set one extended attribute; those that the file system has no place for are left out."""
    if key.startswith(_XATTRS_REFUSED):
        return
    try:
        os.setxattr(where, key, value, follow_symlinks=isinstance(where, int))
    except OSError as error:
        # ENOTSUP: no such namespace on this file system; EPERM: user.* on a symbolic link.
        if error.errno not in {errno.ENOTSUP, errno.EPERM}:
            raise


def show_path(path: bytes) -> str:
    """A path as a message shows it: quoted, and not longer than anybody reads."""
    return repr(os.fsdecode(path)) if len(path) <= _SHOWN_BYTES else f"{os.fsdecode(path[:_SHOWN_BYTES])!r}…"


def _entry_error(error: OSError, entry: Entry) -> Error:
    """Missing link targets, names too long and the like are the layer's fault, not ours."""
    failed = translate_os_error(error, f"layer entry {show_path(entry.path)}", InvalidArgument)
    if isinstance(failed, ResourceExhausted) or error.errno in {
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.EROFS,
    }:
        return failed
    return InvalidArgument(failed.message)
