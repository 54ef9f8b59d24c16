"""Things that have a name and nothing else to be found by: volumes, secrets, pods.

    <table>   name, value

`value` is a struct as JSON: a field that is added later has a default, and one that is not known is passed over.
"""

import sqlite3
from collections.abc import Callable
from typing import Generic, TypeVar

from rundlet.errors import AlreadyExists, NotFound
from rundlet.spec.json import decode, encode
from rundlet.store.database import Database

T = TypeVar("T")


def table_schema(table: str) -> str:
    return f"CREATE TABLE IF NOT EXISTS {table} (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"


class NamedTable(Generic[T]):
    """`kind` is what a value is, `noun` what people call it.  Thread-safe, and for several processes."""

    def __init__(self, database: Database, table: str, kind: type[T], noun: str) -> None:
        self._database = database
        self._table = table
        self._kind = kind
        self._noun = noun

    def add(self, name: str, value: T) -> None:
        """Raises AlreadyExists when the name is taken."""
        try:
            with self._database.write() as connection:
                statement = f"INSERT INTO {self._table} VALUES (?, ?)"  # noqa: S608 - a name of this program's
                connection.execute(statement, (name, encode(value).decode()))
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(f"there is a {self._noun} {name} already") from error

    def change(self, name: str, change: Callable[[T], T]) -> T:
        """Read, change and write in one transaction; the new value.  Raises NotFound."""
        with self._database.write() as connection:
            select = f"SELECT value FROM {self._table} WHERE name = ?"  # noqa: S608
            row = connection.execute(select, (name,)).fetchone()
            if row is None:
                raise self._missing(name)
            value = change(self._decode(name, row[0]))
            update = f"UPDATE {self._table} SET value = ? WHERE name = ?"  # noqa: S608
            connection.execute(update, (encode(value).decode(), name))
        return value

    def delete(self, name: str) -> None:
        with self._database.write() as connection:
            connection.execute(f"DELETE FROM {self._table} WHERE name = ?", (name,))  # noqa: S608

    def find(self, name: str) -> T | None:
        rows = self._database.query(f"SELECT value FROM {self._table} WHERE name = ?", (name,))  # noqa: S608
        return self._decode(name, rows[0]["value"]) if rows else None

    def get(self, name: str) -> T:
        """Raises NotFound."""
        found = self.find(name)
        if found is None:
            raise self._missing(name)
        return found

    def list(self) -> dict[str, T]:
        """By name, in order."""
        rows = self._database.query(f"SELECT name, value FROM {self._table} ORDER BY name")  # noqa: S608
        return {row["name"]: self._decode(row["name"], row["value"]) for row in rows}

    def _decode(self, name: str, text: str) -> T:
        return decode(text, self._kind, f"record of {self._noun} {name}")

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"no such {self._noun}: {name}", hint=f"`rundlet {self._noun} ls` lists them")
