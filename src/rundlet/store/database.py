"""The state database: SQLite in WAL mode, shared by threads and processes.

`state.db` with its `-wal` and `-shm` files.  Commits survive the death of any process;
after a power failure the newest may be missing, never half there (WAL, synchronous=NORMAL).
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rundlet import errors
from rundlet.kernel.failure import translating
from rundlet.step import step

# Statements of the schema that have been done: a copy of some tables must not take them along.
DONE_TABLE: Final = "schemas"
_BUSY_TIMEOUT_S: Final = 30.0
# A connection's own memory, pages and prepared statements, is some 0.5 MB; the pages are the kernel's as well.
_IDLE_MAX: Final = 3
_CACHE_KIB: Final = 256

_KINDS: Final[dict[int, type[errors.Error]]] = {
    sqlite3.SQLITE_FULL: errors.ResourceExhausted,
    sqlite3.SQLITE_NOMEM: errors.ResourceExhausted,
    sqlite3.SQLITE_BUSY: errors.Unavailable,
    sqlite3.SQLITE_LOCKED: errors.Unavailable,
    sqlite3.SQLITE_PERM: errors.PermissionDenied,
    sqlite3.SQLITE_READONLY: errors.PermissionDenied,
    sqlite3.SQLITE_CANTOPEN: errors.PermissionDenied,
    sqlite3.SQLITE_CORRUPT: errors.DataLoss,
    sqlite3.SQLITE_NOTADB: errors.DataLoss,
    sqlite3.SQLITE_IOERR: errors.DataLoss,
}


class _Active(threading.local):
    """The transaction that this thread is in."""

    connection: sqlite3.Connection | None = None


class Database:
    """Connections for any number of threads; `schema` are idempotent statements (IF NOT EXISTS).

    A write inside a write of the same thread joins it.  sqlite3.IntegrityError reaches
    the caller, who knows what it means; all else comes as ResourceExhausted (disk full),
    Unavailable (another process held the database too long), PermissionDenied, DataLoss.
    """

    def __init__(self, path: str, schema: Sequence[str]) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._active = _Active()
        self._writing = threading.Lock()  # fairer and quicker than SQLite's own waiting
        with self._translating(), _opening(path):
            connection = self._connect()
            connection.execute("PRAGMA journal_mode = WAL")
            _ensure_schema(connection, schema)
            self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle; the database can be used on."""
        while self._idle:
            self._idle.pop().close()

    def flush(self) -> None:
        """Put on disk what has been committed: SQLite alone would do so some time later (synchronous = NORMAL)."""
        with translating(f"database {self._path}"):
            try:
                fd = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # all of it is in the database itself
                return
            try:
                with step("store.flush"):
                    os.fdatasync(fd)
            finally:
                os.close(fd)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the database for the whole block."""
        if self._active.connection is not None:
            yield self._active.connection
            return
        with self._transaction("BEGIN", "store.read") as connection:
            yield connection

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of one SELECT, which sees one state by itself: a third of the calls of `read`."""
        active = self._active.connection
        if active is not None:
            return _fetch(active, statement, parameters)
        with self._translating():
            connection = self._take()
            try:
                return _fetch(connection, statement, parameters)
            finally:
                self._give_back(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction: committed at the end of the block, undone by any error."""
        if self._active.connection is not None:
            yield self._active.connection
            return
        with self._writing, self._transaction("BEGIN IMMEDIATE", "store.commit") as connection:
            self._active.connection = connection
            try:
                yield connection
            finally:
                self._active.connection = None

    @contextmanager
    def _transaction(self, begin: str, end: str) -> Iterator[sqlite3.Connection]:
        """`end` is the name of the step that ends it."""
        with self._translating():
            connection = self._take()
            try:
                connection.execute(begin)
                yield connection
                with translating(f"database {self._path}"), step(end):
                    connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < _IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            kind = _KINDS.get(code & 0xFF, errors.Internal)  # the low byte is the primary code
            raise kind(f"database {self._path}: {error}") from error


def _ensure_schema(connection: sqlite3.Connection, schema: Sequence[str]) -> None:
    """Make what is not there.  What was made before is known by its statement: to ask takes SQLite 0.1 ms, to
    look at all of some 40 statements 3 ms, at each opening."""
    connection.execute("CREATE TABLE IF NOT EXISTS schemas (statement TEXT PRIMARY KEY) WITHOUT ROWID")
    known = {row[0] for row in connection.execute("SELECT statement FROM schemas")}
    missing = [statement for statement in schema if statement not in known]
    if missing:
        connection.execute("BEGIN IMMEDIATE")
        for statement in missing:
            connection.execute(statement)
            connection.execute("INSERT OR IGNORE INTO schemas VALUES (?)", (statement,))
        connection.execute("COMMIT")


def _fetch(connection: sqlite3.Connection, statement: str, parameters: Sequence[Any]) -> list[sqlite3.Row]:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(statement, parameters).fetchall()


@contextmanager
def _opening(path: str) -> Iterator[None]:
    """One opener at a time: SQLite does not wait when two turn the same new file to WAL mode."""
    with translating(f"database {path}"):
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
