"""Files into and out of a running container: single ones as bytes, trees as tar streams.

    put    bytes    → one file, made or overwritten as the container's root or another of its users
    get    one file → bytes
    pack   a path   → a tar whose first entry has the path's own name
    unpack a tar    → below a directory

Every path is resolved inside the container, by its own links, and never outside it.
"""

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator

from rundlet.archive.apply import apply_layer
from rundlet.archive.compression import Readable
from rundlet.archive.pack import Writable
from rundlet.archive.treetar import pack_tree
from rundlet.engine.engine import Engine
from rundlet.errors import InvalidArgument, ResourceExhausted
from rundlet.kernel.failure import translating
from rundlet.kernel.openat2 import open_in_root

_CHUNK_BYTES = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def put_file(
    engine: Engine,
    container_id: str,
    path: str,
    data: bytes,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
) -> None:
    """Write one file; its directories are made when they are missing.

    Raises InvalidArgument for a directory or another thing that is no file, PermissionDenied, ResourceExhausted.
    """
    with (
        engine.inside.open_root(container_id, uid, gid) as root_fd,
        translating(f"write {path} in the container"),
    ):
        parent_fd = _make_directories(root_fd, posixpath.dirname(_clean(path)))
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
            fd = _open_file(parent_fd, posixpath.basename(_clean(path)), path, flags | os.O_NOFOLLOW, mode)
        finally:
            os.close(parent_fd)
        try:
            _require_regular(fd, path)
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)


def get_file(engine: Engine, container_id: str, path: str, limit_bytes: int = 1 << 30) -> bytes:
    """Raises NotFound, InvalidArgument for what is no file, ResourceExhausted for one over `limit_bytes`."""
    with engine.inside.open_root(container_id) as root_fd, translating(f"read {path} in the container"):
        fd = _open_file(root_fd, path, path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            _require_regular(fd, path)
            data = b"".join(_read_chunks(fd, limit_bytes + 1))
        finally:
            os.close(fd)
    if len(data) > limit_bytes:
        raise ResourceExhausted(f"{path} in the container has more than {limit_bytes} bytes")
    return data


def list_directory(engine: Engine, container_id: str, path: str) -> list[str]:
    """Names in a directory, sorted, those of directories with a slash behind them."""
    with engine.inside.open_root(container_id) as root_fd, translating(f"list {path} in the container"):
        fd = open_in_root(root_fd, path, _DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                names = [entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries]
        finally:
            os.close(fd)
    return sorted(names)


def pack_path(engine: Engine, container_id: str, path: str, out: Writable, *, contents: bool = False) -> None:
    """Write the file or tree at `path` to `out` as a tar; sockets are left out.

    With `contents` a directory's own entry is too, and what lies in it has paths of its own.
    """
    with engine.inside.open_root(container_id) as root_fd, translating(f"pack {path} of the container"):
        fd = open_in_root(root_fd, path, os.O_PATH)
        try:
            inside = os.readlink(f"/proc/self/fd/{fd}")
            name = posixpath.basename(_clean(path)) or posixpath.basename(inside)
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            if not is_directory:
                _pack_file(fd, path, name, out)
                return
            prefix = b"" if contents else os.fsencode(name)
            pack_tree(
                f"/proc/self/fd/{fd}/.", out, prefix=prefix, choose=lambda path: bool(path) or not contents
            )
        finally:
            os.close(fd)


def _pack_file(path_fd: int, path: str, name: str, out: Writable) -> None:
    """A tar of one regular file, whose entry has `name`."""
    _require_regular(path_fd, path)
    with (
        open(f"/proc/self/fd/{path_fd}", "rb") as file,
        tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive,  # type: ignore[call-overload]  # it only writes
    ):
        archive.addfile(archive.gettarinfo(arcname=name, fileobj=file), file)


def unpack_into(
    engine: Engine, container_id: str, directory: str, archive: Readable, *, uid: int = 0, gid: int = 0
) -> None:
    """Unpack a tar (plain, gzip or zstd) below an existing `directory`; device nodes are left out.

    It all belongs to `uid` and `gid` of the container.

    What is there already under a name is replaced.
    """
    with (
        engine.inside.open_root(container_id, uid, gid) as root_fd,
        translating(f"unpack into {directory} in the container"),
    ):
        fd = open_in_root(root_fd, directory, _DIRECTORY)
        try:
            apply_layer(archive, f"/proc/self/fd/{fd}", devices=False, marks=False, owners=False)
        finally:
            os.close(fd)


def _clean(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"{path!r}: must be an absolute path in the container")
    return posixpath.normpath(path)


def _make_directories(root_fd: int, path: str) -> int:
    """A descriptor of `path`, made as far as it is missing; links are followed inside the container."""
    fd = os.dup(root_fd)
    walked = ""
    for name in filter(None, path.split("/")):
        walked += f"/{name}"
        try:
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
            except FileExistsError:
                pass
            following = open_in_root(root_fd, walked, os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(fd)
        fd = following
    return fd


def _open_file(root_fd: int, where: str, path: str, flags: int, mode: int = 0) -> int:
    """A descriptor of what lies at `where`, which is `path` to the caller; InvalidArgument when it cannot be a file."""
    try:
        return open_in_root(root_fd, where, flags, mode)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ENXIO, errno.ELOOP, errno.ENOTDIR):
            raise
        raise InvalidArgument(
            f"{path} in the container is not a file: {os.strerror(error.errno).lower()}"
        ) from error


def _require_regular(fd: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise InvalidArgument(f"{path} in the container is not a file")


def _read_chunks(fd: int, limit_bytes: int) -> Iterator[bytes]:
    while limit_bytes > 0 and (chunk := os.read(fd, min(_CHUNK_BYTES, limit_bytes))):
        limit_bytes -= len(chunk)
        yield chunk
