"""Layers once more, for containers in user namespaces whose layers cannot be shown through a mapping.

    <root>/shifted/<n>-<mapping>/    layer <n> with the owners of one mapping (`archive.shift`)
                   tmp-<name>        half-made, or on the way out

Each is made when the first snapshot needs it and is gone with the last: a second container with the same
mapping finds it.  A mapping's name is the boot's too: what an earlier boot may not have written is not used.
"""

import os
import secrets
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final, NamedTuple

from rundlet.archive.shift import Data, Shift, shift_tree
from rundlet.archive.tree import make_root, remove_tree
from rundlet.kernel import mount
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest
from rundlet.step import step
from rundlet.store.database import Database
from rundlet.store.layers import Layers
from rundlet.store.locks import Locks, Patience
from rundlet.store.snapshots import Snapshot
from rundlet.store.sweeper import Sweeper

_HALF_PREFIX: Final = "tmp-"
_GONE_PREFIX: Final = "tmp-gone-"
_MAPPING_DIGITS: Final = 16
_UNUSED: Final = """
    SELECT layer_id, mapping FROM shifted_layers
    EXCEPT SELECT layer_id, mapping FROM shifted_snapshots JOIN snapshot_layers USING (key)
"""
_PROBE_SHIFT: Final = Shift(((0, 1000, 1),), ((0, 1000, 1),))


class ShiftedStack(NamedTuple):
    """What overlayfs stacks in place of a snapshot's layers, top first, with metacopy=on or without."""

    lower: tuple[str, ...]
    metacopy: bool


class ShiftedLayers:
    def __init__(
        self, root: str, database: Database, layers: Layers, locks: Locks, sweeper: Sweeper, boot_id: str
    ) -> None:
        self._root = f"{root}/shifted"
        self._database = database
        self._layers = layers
        self._locks = locks
        self._sweeper = sweeper
        self._boot_id = boot_id
        self._can_refer: bool | None = None

    def prepare(self, snapshot: Snapshot, shift: Shift, data: Data) -> ShiftedStack:
        """The layers of a new snapshot for a mapping, and its own root with the owner that it has there.

        They stay as long as the snapshot.  Raises ResourceExhausted when the disk is full.
        """
        mapping = _name_mapping(self._boot_id, shift, data)
        with self._database.write() as connection:
            connection.execute("INSERT INTO shifted_snapshots VALUES (?, ?)", (snapshot.key, mapping))
            rows = connection.execute(
                "SELECT layer_id FROM snapshot_layers WHERE key = ? ORDER BY position DESC", (snapshot.key,)
            ).fetchall()
        lower: list[str] = []
        with translating(f"layers of {snapshot.key} for a user namespace"):
            for (layer_id,) in rows:
                lower.append(self._ensure(layer_id, mapping, shift, data))
                lower += [self._layers.path(layer_id)] if data == "refer" else []
            status = os.stat(snapshot.upper)
            os.chown(snapshot.upper, *shift.owner(status.st_uid, status.st_gid))
            os.chmod(snapshot.upper, status.st_mode & 0o7777)
        return ShiftedStack(tuple(lower), data == "refer")

    def _ensure(self, layer_id: int, mapping: str, shift: Shift, data: Data) -> str:
        """The directory of one layer, made by the first who comes."""
        name = f"{layer_id}-{mapping}"
        path = f"{self._root}/{name}"
        if not self._is_there(layer_id, mapping):
            with self._locks.hold(_lock_name(name), Patience()):
                if not self._is_there(layer_id, mapping):
                    self._make(layer_id, mapping, shift, data)
        return path

    def _is_there(self, layer_id: int, mapping: str) -> bool:
        with self._database.read() as connection:
            return bool(
                connection.execute(
                    "SELECT 1 FROM shifted_layers WHERE layer_id = ? AND mapping = ?", (layer_id, mapping)
                ).fetchone()
            )

    def _make(self, layer_id: int, mapping: str, shift: Shift, data: Data) -> None:
        name = f"{layer_id}-{mapping}"
        half, path = f"{self._root}/{_HALF_PREFIX}{name}", f"{self._root}/{name}"
        remove_tree(half)
        remove_tree(path)  # its maker died before the row
        make_root(half)
        try:
            with step("shifted.copy", name):
                size_bytes, inodes = shift_tree(self._layers.path(layer_id), half, shift, data)
            with step("shifted.rename", name):
                os.rename(half, path)
        except BaseException:
            remove_tree(half)
            raise
        with step("shifted.publish", name), self._database.write() as connection:
            row = (layer_id, mapping, size_bytes, inodes)
            connection.execute("INSERT INTO shifted_layers VALUES (?, ?, ?, ?)", row)

    def collect(self) -> None:
        """Let go of what no snapshot needs any more; the files go a little later."""
        with self._database.read() as connection:
            if not connection.execute(_UNUSED).fetchone():
                return
        with translating("free layers of user namespaces"), self._database.write() as connection:
            gone = [self._move_away(connection, *row) for row in connection.execute(_UNUSED).fetchall()]
        self._sweeper.sweep(gone)

    def _move_away(self, connection: Connection, layer_id: int, mapping: str) -> str:
        connection.execute(
            "DELETE FROM shifted_layers WHERE layer_id = ? AND mapping = ?", (layer_id, mapping)
        )
        aside = f"{self._root}/{_GONE_PREFIX}{layer_id}-{secrets.token_hex(4)}"
        try:
            with step("shifted.move-away"):
                os.rename(f"{self._root}/{layer_id}-{mapping}", aside)
        except FileNotFoundError:
            pass
        return aside

    def collect_stale(self) -> None:
        """Remove what processes that died have left: half-made directories and those without a row."""
        self.collect()
        for name in os.listdir(self._root):
            if name.startswith(_GONE_PREFIX):
                remove_tree(f"{self._root}/{name}")
            elif name.startswith(_HALF_PREFIX) or not self._is_known(name):
                self._remove_unless_being_made(name)

    def _is_known(self, name: str) -> bool:
        layer_id, _, mapping = name.partition("-")
        return layer_id.isdigit() and self._is_there(int(layer_id), mapping)

    def _remove_unless_being_made(self, name: str) -> None:
        with self._locks.try_hold(_lock_name(name)) as held:
            if held and (name.startswith(_HALF_PREFIX) or not self._is_known(name)):
                remove_tree(f"{self._root}/{name}")

    def usage(self) -> tuple[int, int]:
        """(bytes on disk, inodes) of all of them."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(size_bytes), 0), coalesce(sum(inodes), 0) FROM shifted_layers"
            ).fetchone()
        return (row[0], row[1])

    def can_refer(self) -> bool:
        """Whether overlayfs takes the data of a file from the layer below, here; asked once."""
        if self._can_refer is None:
            name = f"probe-{secrets.token_hex(4)}"
            directory = f"{self._root}/{_HALF_PREFIX}{name}"
            with self._locks.hold(_lock_name(name), Patience()):
                try:
                    self._can_refer = _try_reference(directory)
                except OSError:
                    self._can_refer = False
                finally:
                    remove_tree(directory)
        return self._can_refer


def _lock_name(name: str) -> str:
    return f"shifted-{name.removeprefix(_HALF_PREFIX)}"


def _name_mapping(boot_id: str, shift: Shift, data: Data) -> str:
    return Digest.of(repr((boot_id, tuple(shift), data)).encode()).hex[:_MAPPING_DIGITS]


def _try_reference(directory: str) -> bool:
    """A file of two layers that overlayfs makes one: the owner of the upper, the data of the lower."""
    names = ("shifted", "layer", "upper", "work")
    paths = [f"{directory}/{name}" for name in names]
    for path in paths:
        os.makedirs(path)
    with open(f"{directory}/layer/file", "wb") as file:
        file.write(b"data")
    shift_tree(f"{directory}/layer", f"{directory}/shifted", _PROBE_SHIFT, "refer")
    fds = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths]
    try:
        return _read_through(fds) == (1000, b"data")
    finally:
        for fd in fds:
            os.close(fd)


def _read_through(layers: Sequence[int]) -> tuple[int, bytes]:
    """(owner, content) of "file" in a mount that nobody else sees; the names are short for fsconfig(2)."""
    shifted, layer, upper, work = (f"/proc/self/fd/{fd}" for fd in layers)
    options = (("lowerdir", f"{shifted}:{layer}"), ("upperdir", upper), ("workdir", work), ("metacopy", "on"))
    context = mount.fsopen("overlay")
    try:
        for key, value in options:
            mount.fsconfig(context, mount.FSCONFIG_SET_STRING, key, value)
        mount.fsconfig(context, mount.FSCONFIG_CMD_CREATE)
        tree = mount.fsmount(context)
    finally:
        os.close(context)
    try:
        fd = os.open("file", os.O_RDONLY | os.O_CLOEXEC, dir_fd=tree)
        try:
            return os.fstat(fd).st_uid, os.read(fd, 8)
        finally:
            os.close(fd)
    finally:
        os.close(tree)
