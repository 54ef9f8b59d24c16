"""What is known of containers beside what the engine knows: their names, and what was asked.

    local_containers   id, name unique, pod_id, own_pod, owner, created_at_ns, asked, state

`id` is the engine's id of the container.  `own_pod` is 1 where the pod was made for the container
alone and goes with it.  `owner` names the process that is making or removing the container, ""
when nobody is.  `asked` is the RunOptions, `state` what came of it since, both as JSON.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from rundlet.engine.names import is_id_prefix, pick_id
from rundlet.errors import AlreadyExists, NotFound
from rundlet.local.options import RunOptions
from rundlet.spec.json import decode, encode
from rundlet.store.database import Database

CONTAINER_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS local_containers (
        id            TEXT PRIMARY KEY,
        name          TEXT NOT NULL UNIQUE,
        pod_id        TEXT NOT NULL,
        own_pod       INTEGER NOT NULL,
        owner         TEXT NOT NULL,
        created_at_ns INTEGER NOT NULL,
        asked         TEXT NOT NULL,
        state         TEXT NOT NULL
    ) STRICT
    """,
)


class Probe(Struct, frozen=True, omit_defaults=True):
    """One run of a health check; `output` is its end, at most a few hundred characters."""

    started_at_ns: int
    finished_at_ns: int
    exit_code: int
    output: str = ""


class Health(Struct, frozen=True, omit_defaults=True):
    """`status` is empty without a check; `probes` are the last ones, the newest last.

    `life_ns` is when the life began that it is about: the container's start.  `started`: the check that is
    there for the beginning (`HealthCheck.first`) has succeeded in it.
    """

    status: Literal["", "starting", "healthy", "unhealthy"] = ""
    failing_streak: int = 0
    probes: tuple[Probe, ...] = ()
    life_ns: int = 0
    started: bool = False


class LocalState(Struct, frozen=True, omit_defaults=True):
    """`wanted` is what the user asked last: a container that was stopped is not restarted.

    `restarts` counts those by policy since a person started it last, `restart_at_ns` is when the
    next one is due (0: none is), `restart_after` the life that it follows (engine's `lives`),
    `restart_pause_s` how long it was put off.
    """

    wanted: Literal["stopped", "running", "removed"] = "stopped"
    restarts: int = 0
    restart_at_ns: int = 0
    restart_after: int = 0
    restart_pause_s: float = 0.0
    health: Health = Health()


class LocalRecord(Struct, frozen=True):
    id: str
    name: str
    pod_id: str
    own_pod: bool
    owner: str
    created_at_ns: int
    asked: RunOptions
    state: LocalState = LocalState()


class LocalRecords:
    """The table; thread-safe, and several processes may use it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, record: LocalRecord) -> None:
        """Raises AlreadyExists when the name is taken."""
        row = (record.id, record.name, record.pod_id, int(record.own_pod), record.owner, record.created_at_ns)
        try:
            with self._database.write() as connection:
                connection.execute(
                    "INSERT INTO local_containers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, encode(record.asked).decode(), encode(record.state).decode()),
                )
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(
                f"the name {record.name!r} is taken by another container",
                hint="remove or rename that one, or give --replace",
            ) from error

    def publish(self, full_id: str) -> None:
        """It is made: nobody works on it any more."""
        self._write("UPDATE local_containers SET owner = '' WHERE id = ?", (full_id,))

    def claim(self, full_id: str, owner: str) -> None:
        """`owner` removes it now; whoever finds the claim of a dead process goes on."""
        self._write("UPDATE local_containers SET owner = ? WHERE id = ?", (owner, full_id))

    def rename(self, full_id: str, name: str) -> None:
        """Raises AlreadyExists when the name is taken."""
        try:
            self._write("UPDATE local_containers SET name = ? WHERE id = ?", (name, full_id))
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(f"the name {name!r} is taken by another container") from error

    def delete(self, full_id: str) -> None:
        self._write("DELETE FROM local_containers WHERE id = ?", (full_id,))

    def change_state(self, full_id: str, change: Callable[[LocalState], LocalState]) -> LocalState:
        """Read, change and write the state in one transaction; the new one."""
        with self._database.write() as connection:
            row = connection.execute("SELECT state FROM local_containers WHERE id = ?", (full_id,)).fetchone()
            if row is None:
                raise NotFound(f"no such container: {full_id!r}")
            state = change(decode(row[0], LocalState, f"state of container {full_id}"))
            connection.execute(
                "UPDATE local_containers SET state = ? WHERE id = ?", (encode(state).decode(), full_id)
            )
        return state

    def change_asked(self, full_id: str, change: Callable[[RunOptions], RunOptions]) -> None:
        """What `update` changed shows in what was asked from now on."""
        with self._database.write() as connection:
            record = _read(
                connection.execute("SELECT * FROM local_containers WHERE id = ?", (full_id,)).fetchone()
            )
            asked = encode(change(record.asked)).decode()
            connection.execute("UPDATE local_containers SET asked = ? WHERE id = ?", (asked, full_id))

    def find(self, text: str) -> LocalRecord | None:
        """By name, id or the beginning of one id; None for an unknown one.

        Raises InvalidArgument when it is the beginning of several ids.
        """
        rows = self._database.query("SELECT * FROM local_containers WHERE name = ? OR id = ?", (text, text))
        if not rows and is_id_prefix(text):
            rows = self._database.query(
                "SELECT * FROM local_containers WHERE id >= ? AND id < ?", (text, f"{text}g")
            )
        if not rows:
            return None
        wanted = rows[0]["id"] if len(rows) == 1 else pick_id(text, [row["id"] for row in rows], "container")
        return _read(next(row for row in rows if row["id"] == wanted))

    def list(self) -> Sequence[LocalRecord]:
        """Newest first, those being made included."""
        query = "SELECT * FROM local_containers ORDER BY created_at_ns DESC, id"
        return [_read(row) for row in self._database.query(query)]

    def _write(self, query: str, values: Sequence[str]) -> None:
        with self._database.write() as connection:
            connection.execute(query, tuple(values))


def want(state: LocalState, wanted: Literal["stopped", "running", "removed"]) -> LocalState:
    """A person said so: what restarts have come to is forgotten."""
    return replace(state, wanted=wanted, restarts=0, restart_at_ns=0, restart_pause_s=0.0)


def _read(row: sqlite3.Row) -> LocalRecord:
    full_id, name, pod_id, own_pod, owner, created_at_ns, asked, state = row
    what = f"record of container {name}"
    return LocalRecord(
        full_id,
        name,
        pod_id,
        bool(own_pod),
        owner,
        created_at_ns,
        decode(asked, RunOptions, what),
        decode(state, LocalState, what),
    )
