"""Secrets: small values that are in no image, no record and no command line.

    <root>/secrets/               0700
                   <id>           0600, the value
    <run root>/local/secrets/<container id>/<n>      a container's own copy, which it sees as a file

The run root is in memory where it should be (/run).  A copy is made when its container starts and
goes with it.  What a secret is now, not what it was, is what a container started anew gets.
"""

import os
import secrets
import time
from collections.abc import Sequence

from msgspec import Struct

from rundlet.archive.tree import remove_tree
from rundlet.engine.journal import Journal
from rundlet.engine.options import Mount
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.local.names import check_name
from rundlet.local.options import SecretUse
from rundlet.local.table import NamedTable
from rundlet.step import step
from rundlet.store.database import Database

SECRET_TABLE = "local_secrets"  # noqa: S105 - a table's name
SIZE_MAX_BYTES = 512_000  # podman's
_ID_BYTES = 12
_DIRECTORY = "/run/secrets"


class SecretRecord(Struct, frozen=True, omit_defaults=True):
    id: str
    created_at_ns: int
    updated_at_ns: int
    labels: dict[str, str] = {}


class Secret(Struct, frozen=True):
    """Without the value."""

    id: str
    name: str
    created_at_ns: int
    updated_at_ns: int
    labels: dict[str, str]


class Secrets:
    """Of one machine; thread-safe, and for several processes."""

    def __init__(self, database: Database, directory: str, run_directory: str, journal: Journal) -> None:
        self._journal = journal
        self._table = NamedTable(database, SECRET_TABLE, SecretRecord, "secret")
        self._directory = directory
        self._run_directory = run_directory

    def create(
        self, name: str, value: bytes, labels: dict[str, str] | None = None, *, replace: bool = False
    ) -> Secret:
        """Raises AlreadyExists unless `replace`, InvalidArgument for no value and for a big one."""
        check_name(name, "secret")
        if not 0 < len(value) < SIZE_MAX_BYTES:
            raise InvalidArgument(
                f"secret {name} has {len(value)} bytes, and must have between 1 and {SIZE_MAX_BYTES - 1}"
            )
        old = self._table.find(name) if replace else None
        now = time.time_ns()
        record = SecretRecord(
            secrets.token_hex(_ID_BYTES), old.created_at_ns if old else now, now, labels or {}
        )
        path = f"{self._directory}/{record.id}"
        with translating(f"write secret {name}"), step("secret.write", name):
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            write_private(path, value)
        try:
            if old:
                self._table.change(name, lambda _: record)
            else:
                self._table.add(name, record)
        except BaseException:
            os.unlink(path)
            raise
        if old:
            self._unlink(old)
        self._journal.note("secret", "create", record.id, name)
        return _describe(name, record)

    def get(self, text: str) -> Secret:
        """By name or the beginning of an id.  Raises NotFound."""
        found = self._table.find(text)
        if found is not None:
            return _describe(text, found)
        named = [item for item in self._table.list().items() if text and item[1].id.startswith(text)]
        return _describe(*named[0]) if len(named) == 1 else _describe(text, self._table.get(text))

    def exists(self, name: str) -> bool:
        """Whether there is a secret of that name."""
        return self._table.find(name) is not None

    def list(self) -> Sequence[Secret]:
        """By name."""
        return [_describe(name, record) for name, record in self._table.list().items()]

    def read(self, name: str) -> bytes:
        """Its value.  Raises NotFound."""
        record = self._table.get(name)
        with translating(f"read secret {name}"), open(f"{self._directory}/{record.id}", "rb") as file:
            return file.read()

    def remove(self, text: str) -> str:
        """The name of what was removed; containers that have it keep their copy.  Raises NotFound."""
        name = self.get(text).name
        record = self._table.get(name)
        self._table.delete(name)
        self._unlink(record)
        self._journal.note("secret", "remove", record.id, name)
        return name

    def _unlink(self, record: SecretRecord) -> None:
        try:
            os.unlink(f"{self._directory}/{record.id}")
        except FileNotFoundError:
            pass

    def variables(self, uses: Sequence[SecretUse]) -> tuple[tuple[str, str], ...]:
        """Those that a container has as variables.  Raises NotFound."""
        return tuple(
            (use.target or use.name, self.read(use.name).decode("utf-8", "surrogateescape"))
            for use in uses
            if use.kind == "env"
        )

    def mounts(self, container_id: str, uses: Sequence[SecretUse]) -> tuple[Mount, ...]:
        """Where the copies of a container are seen."""
        return tuple(
            Mount(_target(use), host_path=f"{self._run_directory}/{container_id}/{number}", readonly=True)
            for number, use in enumerate(uses)
            if use.kind == "mount"
        )

    def copy(self, container_id: str, uses: Sequence[SecretUse]) -> None:
        """Write a container's own copies, before it starts.  Raises NotFound."""
        directory = f"{self._run_directory}/{container_id}"
        for number, use in enumerate(uses):
            if use.kind == "mount":
                value = self.read(use.name)
                with translating(f"copy secret {use.name}"), step("secret.copy", container_id):
                    os.makedirs(directory, mode=0o700, exist_ok=True)
                    write_private(f"{directory}/{number}", value, use.mode, (use.uid, use.gid))

    def forget(self, container_id: str) -> None:
        """Remove a container's copies; idempotent."""
        remove_tree(f"{self._run_directory}/{container_id}")


def write_private(path: str, value: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """A file that is there whole or not, and never wider open than `mode`."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(value)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
    os.rename(new, path)


def _target(use: SecretUse) -> str:
    target = use.target or use.name
    return target if target.startswith("/") else f"{_DIRECTORY}/{target}"


def _describe(name: str, record: SecretRecord) -> Secret:
    return Secret(record.id, name, record.created_at_ns, record.updated_at_ns, record.labels)
