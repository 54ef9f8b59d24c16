"""A container's checkpoint as one file, laid out as CRI-O writes it: a plain tar.

    config.dump        JSON, `Dump`: id, name and image of the container, when it was taken
    spec.dump          JSON: the container's config.json, with annotations that name container and pod
    bind.mounts        JSON: what the host gave, [{source, destination, file_type, permissions}]
    checkpoint/        criu's images, descriptors.json among them
    dump.log           criu's log
    stats-dump         criu's statistics, as an image of its own
    rootfs-diff.tar    what the container has written, without what it has removed
    deleted.files      JSON: paths that it has removed; left out when there are none
    container.log      its log up to then, when it has one

The file appears under its name when it is complete, readable for root only: it holds all the memory of
the processes.  Reading trusts it as little as an image: `unpack` stays in its directory.
"""

import os
import stat
import tarfile
from collections.abc import Iterator, Sequence

import msgspec

from rundlet.archive.apply import apply_layer
from rundlet.archive.inherit import copy_implied
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.kernel.overlay import PREFIXES, opaque_xattr
from rundlet.spec.json import decode
from rundlet.spec.runtime import RuntimeConfig

IMAGES, CONFIG, SPEC, MOUNTS = "checkpoint", "config.dump", "spec.dump", "bind.mounts"
DIFF, DELETED, LOG = "rootfs-diff.tar", "deleted.files", "container.log"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Dump(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """config.dump; times as RFC 3339.  `rootfs_image_name` is what the user called the image."""

    id: str
    name: str
    rootfs_image: str
    rootfs_image_ref: str
    rootfs_image_name: str
    created_time: str
    checkpointed_time: str
    runtime: str = ""
    restored_time: str = ""
    restored: bool = False


class BindMount(msgspec.Struct, frozen=True):
    """A line of bind.mounts."""

    source: str
    destination: str
    file_type: str
    permissions: int


def write_diff(upper: str, directory: str) -> list[str]:
    """Write rootfs-diff.tar of an overlay's upper directory; the paths that are gone, sorted.

    A directory that hides all below it is among them, as it was removed and made anew.
    """
    deleted: list[str] = []
    with (
        translating(f"write {DIFF}"),
        open(f"{directory}/{DIFF}", "xb") as out,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, name in _walk(upper):
            _add(archive, path, name, deleted)
    return sorted(deleted)


def _walk(root: str) -> Iterator[tuple[str, str]]:
    """(path, name below the root) of all in a tree, parents first; links are not followed."""
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted([*files, *names]):
            path = os.path.join(directory, name)
            yield path, os.path.relpath(path, root)


def _add(archive: tarfile.TarFile, path: str, name: str, deleted: list[str]) -> None:
    info = os.lstat(path)
    if stat.S_ISSOCK(info.st_mode):
        return  # bound by a process, which binds it again
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
        deleted.append(f"/{name}")
        return
    member = archive.gettarinfo(path, name)
    attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in _list_attributes(path)}
    if attributes.pop(opaque_xattr(), b"") == b"y":
        deleted.append(f"/{name}")
    member.pax_headers = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
        for key, value in attributes.items()
        if not key.startswith(PREFIXES)
    }
    if member.isreg():
        with open(path, "rb") as file:
            archive.addfile(member, file)
    else:
        archive.addfile(member)


def _list_attributes(path: str) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def pack(directory: str, location: str) -> None:
    """All of `directory` as the file `location`, there at once and complete."""
    fresh = f"{location}.partial"
    with translating(f"write checkpoint {location}"):
        try:
            with open(fresh, "xb", opener=_private) as out:
                with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
                    for path, name in _walk(directory):
                        archive.add(path, name, recursive=False)
                out.flush()
                os.fsync(out.fileno())
            os.rename(fresh, location)
        except BaseException:
            _remove(fresh)
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def unpack(location: str, directory: str) -> None:
    """The files of a checkpoint in the empty `directory`; InvalidArgument when it is none."""
    try:
        with translating(f"read checkpoint {location}"), open(location, "rb") as source:
            apply_layer(source, directory, devices=False)
    except InvalidArgument as error:
        raise InvalidArgument(f"checkpoint {location}: {error.message}") from error
    check_complete(directory, location)


def check_complete(directory: str, what: str) -> None:
    """Raises InvalidArgument unless the files that a restore needs are there."""
    for name in (CONFIG, SPEC, f"{IMAGES}/inventory.img"):
        if not os.path.isfile(f"{directory}/{name}"):
            raise InvalidArgument(f"{what} is no checkpoint of a container: {name} is missing")


def read_dump(directory: str) -> Dump:
    return decode(_read(directory, CONFIG), Dump, CONFIG)


def read_spec(directory: str) -> RuntimeConfig:
    return decode(_read(directory, SPEC), RuntimeConfig, SPEC)


def _read(directory: str, name: str) -> bytes:
    with translating(f"read {name}"), open(f"{directory}/{name}", "rb") as file:
        return file.read()


def apply_diff(directory: str, upper: str, lower: tuple[str, ...]) -> None:
    """What the container had written and removed, in the empty `upper` directory over `lower`, top first."""
    if os.path.exists(f"{directory}/{DIFF}"):
        with translating(f"unpack {DIFF}"), open(f"{directory}/{DIFF}", "rb") as source:
            stats = apply_layer(source, upper)
        copy_implied(upper, lower, stats.implied)
    if os.path.exists(f"{directory}/{DELETED}"):
        paths = decode(_read(directory, DELETED), list[str], DELETED)
        with translating("hide what the container has removed"):
            implied = [made for path in paths for made in _hide(upper, path)]
            copy_implied(upper, lower, implied)


def _hide(upper: str, path: str) -> list[bytes]:
    """A whiteout, or an opaque directory where there is a new one of that name; the directories made for it."""
    *above, name = path.strip("/").split("/")
    if not all((*above, name)) or ".." in (*above, name):
        raise InvalidArgument(f"{DELETED}: {path!r} is not a path of the container")
    parent, made = _open_parent(upper, above)
    try:
        found = _look_at(name, parent)
        if found is None:
            os.mknod(name, stat.S_IFCHR, dir_fd=parent)
        elif stat.S_ISDIR(found.st_mode):
            os.setxattr(f"/proc/self/fd/{parent}/{name}", opaque_xattr(), b"y", follow_symlinks=False)
    finally:
        os.close(parent)
    return made


def _open_parent(root: str, names: Sequence[str]) -> tuple[int, list[bytes]]:
    """A descriptor of a directory, made where it is missing, and those that were; no link is followed."""
    made: list[bytes] = []
    fd = os.open(root, _DIRECTORY)
    for depth, name in enumerate(names, 1):
        try:
            if _look_at(name, fd) is None:
                os.mkdir(name, 0o755, dir_fd=fd)
                made.append("/".join(names[:depth]).encode())
            child = os.open(name, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = child
    return fd, made


def _look_at(name: str, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
