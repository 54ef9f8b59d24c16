"""Volumes: directories of this machine that containers come and go around.

    <root>/volumes/<name>/_data      what containers see
                         /.new       what is copied from an image, until all of it is there

A volume that a container asks for and that is not there is made.  Its first container fills it
with what the image has at that place, owner and mode of the directory included; the copy takes
the place of the empty directory by one rename, so that a kill leaves either.  Anonymous ones have
64 hex digits for a name and go with their container (`--rm`, `rm --volumes`).  A volume with
options is a mount on `_data`, made when a container starts and taken away with the volume.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from rundlet.archive.apply import apply_layer
from rundlet.archive.compression import Readable
from rundlet.archive.pack import Writable
from rundlet.archive.tree import remove_tree
from rundlet.archive.treetar import pack_tree
from rundlet.engine.images import Images
from rundlet.engine.journal import Journal
from rundlet.errors import FailedPrecondition, NotFound
from rundlet.kernel.failure import translating
from rundlet.kernel.openat2 import open_in_root
from rundlet.local.locks import ContainerLocks
from rundlet.local.names import check_name
from rundlet.local.table import NamedTable
from rundlet.local.volumemounts import check_options, mount_volume, unmount_volume
from rundlet.runtime.copyup import copy_directory
from rundlet.step import step
from rundlet.store.database import Database
from rundlet.store.images import ImageRecord

VOLUME_TABLE = "local_volumes"
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


class VolumeRequest(Struct, frozen=True):
    """`options` are those of mount(8): type, device, o."""

    name: str = ""
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


class VolumeRecord(Struct, frozen=True, omit_defaults=True):
    """`filled`: nothing is copied from an image any more."""

    created_at_ns: int
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False
    filled: bool = False


class Volume(Struct, frozen=True):
    """`path` is where its files lie, `users` the names of the containers that have it."""

    name: str
    path: str
    created_at_ns: int
    labels: dict[str, str]
    options: dict[str, str]
    anonymous: bool
    users: tuple[str, ...] = ()


def invent_volume() -> str:
    """The name of an anonymous volume."""
    return secrets.token_hex(32)


class Volumes:
    """Of one machine; thread-safe, and for several processes."""

    def __init__(
        self,
        database: Database,
        images: Images,
        directory: str,
        locks: ContainerLocks,
        users: Callable[[], dict[str, tuple[str, ...]]],
        journal: Journal,
    ) -> None:
        """`users` tells the names of containers by the volume's name."""
        self._journal = journal
        self._table = NamedTable(database, VOLUME_TABLE, VolumeRecord, "volume")
        self._images = images
        self._directory = directory
        self._locks = locks
        self._users = users

    def create(self, request: VolumeRequest = VolumeRequest()) -> Volume:  # noqa: B008 - immutable
        """Raises AlreadyExists for a taken name, InvalidArgument for one that cannot be and for options."""
        name = request.name or invent_volume()
        check_name(name, "volume")
        check_options(request.options)
        record = VolumeRecord(time.time_ns(), request.labels, request.options, anonymous=not request.name)
        with self._locks.hold(f"volume-{name}"):
            self._make(name, record)
        return self.get(name)

    def ensure(self, name: str) -> bool:
        """Make it unless it is there; whether it was made."""
        check_name(name, "volume")
        with self._locks.hold(f"volume-{name}"):
            if self._table.find(name) is not None:
                return False
            self._make(name, VolumeRecord(time.time_ns(), anonymous=bool(_ANONYMOUS.fullmatch(name))))
            return True

    def _make(self, name: str, record: VolumeRecord) -> None:
        path = self.locate(name)
        with translating(f"make volume {name}"), step("volume.make", name):
            os.makedirs(self._directory, mode=0o711, exist_ok=True)
            os.makedirs(path, mode=0o755, exist_ok=True)  # of a create that was killed
            self._table.add(name, record)
        self._journal.note("volume", "create", name, name, labels=record.labels)

    def locate(self, name: str) -> str:
        """Where the files of a volume lie on the host, there or not."""
        return f"{self._directory}/{name}/_data"

    def locate_inside(self, name: str, sub_path: str) -> str:
        """A place in a volume, its links resolved inside it.  Raises NotFound when there is none."""
        if not sub_path:
            return self.locate(name)
        top = os.open(self.locate(name), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in_root(top, sub_path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"volume {name} has no {sub_path}: {error.strerror}") from error
        finally:
            os.close(top)
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        return self._describe(name, self._table.get(name), self._users())

    def exists(self, name: str) -> bool:
        """Whether there is a volume of that name."""
        return self._table.find(name) is not None

    def list(self, labels: dict[str, str] | None = None) -> Sequence[Volume]:
        """By name; with `labels` only those that have them all ("" is any value)."""
        users = self._users()
        found = (self._describe(name, record, users) for name, record in self._table.list().items())
        return [volume for volume in found if _has_labels(volume.labels, labels or {})]

    def _describe(self, name: str, record: VolumeRecord, users: dict[str, tuple[str, ...]]) -> Volume:
        return Volume(
            name,
            self.locate(name),
            record.created_at_ns,
            record.labels,
            record.options,
            record.anonymous,
            users.get(name, ()),
        )

    def remove(self, name: str) -> None:
        """Raises NotFound, and FailedPrecondition while a container has it."""
        self._table.get(name)  # no lock is made for a name that nobody has
        with self._locks.hold(f"volume-{name}"):
            self._table.get(name)
            users = self._users().get(name, ())
            if users:
                raise FailedPrecondition(
                    f"cannot remove volume {name}: container {users[0]} has it",
                    hint="remove the container first, or force the removal",
                )
            self._remove(name)

    def _remove(self, name: str) -> None:
        unmount_volume(self.locate(name))
        with translating(f"remove volume {name}"), step("volume.remove", name):
            remove_tree(f"{self._directory}/{name}")
            self._table.delete(name)
        self._locks.forget(f"volume-{name}")
        self._journal.note("volume", "remove", name, name)

    def remove_unused(self, names: Iterable[str]) -> None:
        """Of the anonymous volumes that a container had, those that nobody else has."""
        for name in names:
            with self._locks.hold(f"volume-{name}"):
                record = self._table.find(name)
                if record is not None and record.anonymous and not self._users().get(name):
                    self._remove(name)

    def remove_all(self, names: Iterable[str]) -> None:
        """Remove each that nobody has."""
        for name in names:
            if self.exists(name) and not self._users().get(name):
                self.remove(name)

    def prune(self, labels: dict[str, str] | None = None) -> Sequence[str]:
        """Remove all that nobody has; the names."""
        removed = []
        for volume in self.list(labels):
            if not volume.users:
                self.remove(volume.name)
                removed.append(volume.name)
        return removed

    def fill(self, name: str, image: ImageRecord, path: str) -> None:
        """Copy what the image has at `path` into a volume that nobody has filled."""
        record = self._table.get(name)
        if record.filled or record.options:
            return
        with self._locks.hold(f"volume-{name}"):
            self._copy_up(name, image, path)
            self._table.change(name, lambda record: replace(record, filled=True))

    def _copy_up(self, name: str, image: ImageRecord, path: str) -> None:
        target, new = self.locate(name), f"{self._directory}/{name}/.new"
        if os.listdir(target):
            return
        with (
            translating(f"fill volume {name}"),
            step("volume.fill", name),
            self._images.mounted(image) as root,
        ):
            remove_tree(new)  # of a copy that was killed
            source = _open_directory(root, path)
            if source < 0:
                return
            try:
                os.mkdir(new, 0o700)
                _copy(source, new)
                os.rename(new, target)
            finally:
                os.close(source)

    def mark_filled(self, name: str) -> None:
        """Its first container did not want what the image has."""
        self._table.change(name, lambda record: replace(record, filled=True))

    def mount(self, name: str) -> None:
        """What its options say; nothing happens for a volume without and for one that is mounted."""
        record = self._table.get(name)
        if record.options:
            with self._locks.hold(f"volume-{name}"):
                mount_volume(self.locate(name), record.options)

    def write_archive(self, name: str, out: Writable) -> None:
        """All that is in it as a tar (`volume export`)."""
        self.mount(name)
        pack_tree(self.locate(name), out)

    def read_archive(self, name: str, source: Readable) -> None:
        """Unpack a tar, compressed or not, over what is in it (`volume import`)."""
        self.mount(name)
        with translating(f"import into volume {name}"):
            apply_layer(source, self.locate(name), marks=False)
        self.mark_filled(name)

    def populate(self, name: str, write: Callable[[str], None]) -> None:
        """Have `write` change the files of a volume, whose directory it is given, while nobody removes it."""
        with self._locks.hold(f"volume-{name}"), translating(f"write volume {name}"):
            self._table.change(name, lambda record: replace(record, filled=True))
            write(self.locate(name))


def _has_labels(labels: dict[str, str], wanted: dict[str, str]) -> bool:
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())


def _open_directory(root: str, path: str) -> int:
    """The directory of an image, its links resolved inside it; -1 when there is none."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_in_root(top, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    finally:
        os.close(top)


def _copy(source: int, new: str) -> None:
    target = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copy_directory(source, target)
        found = os.fstat(source)
        os.fchown(target, found.st_uid, found.st_gid)
        os.fchmod(target, found.st_mode & 0o7777)
    finally:
        os.close(target)
