"""Reading and writing the records of pods and containers; every change of a state is told to the feed."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from rundlet.engine.feed import About, Change, Feed, Kind
from rundlet.engine.names import is_id_prefix, no_such, pick_id
from rundlet.engine.options import (
    ContainerFilter,
    ContainerOptions,
    NetworkUse,
    PodFilter,
    PodOptions,
    Resources,
)
from rundlet.engine.records import ContainerFacts, ContainerRecord, Exit, PodFacts, PodRecord
from rundlet.errors import AlreadyExists, FailedPrecondition
from rundlet.spec.json import decode, encode
from rundlet.store.database import Database

_KEPT_DECODED = 2048  # a thousand containers: 5 µs less each in a list, for 2 kB each with the text


def _has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return not wanted or all(labels.get(key) == value for key, value in wanted.items())


_decode = lru_cache(_KEPT_DECODED)(decode)
"""What a record asks for never changes and what it became seldom does, while lists are asked for all the time."""


def _text(value: Struct) -> str:
    # Text, not bytes: SQLite's JSON functions take bytes for its own binary form.
    return encode(value).decode()


def _begins(column: str, prefix: str) -> tuple[str, tuple[str, ...]]:
    """The condition that an id begins with `prefix`, as a range, which an index answers.

    Ids are hexadecimal: "g" comes behind every digit.
    """
    return f"{column} >= ? AND {column} < ?", (prefix, f"{prefix}g")


class _Table:
    """Look-up by id or unique prefix, for both tables."""

    def __init__(self, database: Database, name: str, kind: Kind, feed: Feed) -> None:
        self._database = database
        self._name = name
        self._kind: Kind = kind
        self._pod_column = "id" if kind == "pod" else "pod_id"
        own = "json_extract(options, '$.user_image')" if kind == "container" else "''"
        last = "exit_code, json_extract(facts, '$.lives')" if kind == "container" else "NULL, 1"
        self._about = (
            f"name, {own}, json_extract(options, '$.labels'), json_extract(options, '$.origin'), {last}"
        )
        self._feed = feed

    def resolve(self, prefix: str) -> str:
        """The full id; NotFound, or InvalidArgument when it is ambiguous."""
        found: list[str] = []
        if is_id_prefix(prefix):
            where, values = _begins("id", prefix)
            query = f"SELECT id FROM {self._name} WHERE {where} AND state != 'creating'"  # noqa: S608
            found = [row[0] for row in self._database.query(query, values)]
        return pick_id(prefix, found, self._kind)

    def delete(self, full_id: str) -> None:
        """Nothing happens when it is gone."""
        query = f"DELETE FROM {self._name} WHERE id = ? RETURNING state, {self._pod_column}, {self._about}"  # noqa: S608
        try:
            with self._database.write() as connection:
                rows = connection.execute(query, (full_id,)).fetchall()
        except sqlite3.IntegrityError as error:
            raise FailedPrecondition(f"cannot forget {self._kind} {full_id}: it has containers") from error
        for state, pod_id, *about in rows:
            if state != "creating":
                self._feed.tell(self._kind, full_id, pod_id, "deleted", About(*about))

    def _update(
        self, full_id: str, assignments: str, values: Iterable[Any], condition: str, change: Change | None
    ) -> None:
        """Change one row; `change` is told when the condition held."""
        told = f"{self._pod_column}, {self._about}" if change else self._pod_column
        query = f"UPDATE {self._name} SET {assignments} WHERE id = ? {condition} RETURNING {told}"  # noqa: S608
        with self._database.write() as connection:
            rows = connection.execute(query, (*values, full_id)).fetchall()
        if change is not None:
            for pod_id, *about in rows:
                self._feed.tell(self._kind, full_id, pod_id, change, About(*about))

    def _fetch(self, where: str, values: Iterable[Any]) -> list[sqlite3.Row]:
        query = f"SELECT * FROM {self._name} WHERE {where} ORDER BY created_at_ns DESC, id"  # noqa: S608
        return self._database.query(query, tuple(values))

    def _list(self, prefixes: Mapping[str, str]) -> list[sqlite3.Row]:
        """What is no more being made, with ids that begin so, by column; "" is for all."""
        ranges = [_begins(column, prefix) for column, prefix in prefixes.items() if prefix]
        where = " AND ".join(("state != 'creating'", *(condition for condition, _ in ranges)))
        return self._fetch(where, [value for _, values in ranges for value in values])

    def _get_row(self, full_id: str) -> sqlite3.Row:
        rows = self._fetch("id = ?", (full_id,))
        if not rows:
            raise no_such(self._kind, full_id)
        return rows[0]


class PodRecords(_Table):
    def __init__(self, database: Database, feed: Feed) -> None:
        super().__init__(database, "pods", "pod", feed)

    def reserve(self, record: PodRecord) -> None:
        """Take the name; AlreadyExists when a pod, or one being made, has it."""
        options = record.options
        key = (options.namespace, options.name, options.uid, options.attempt)
        row = (record.id, *key, record.state, record.owner, record.created_at_ns)
        try:
            with self._database.write() as connection:
                connection.execute(
                    "INSERT INTO pods VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, _text(options), _text(record.facts)),
                )
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(
                f"pod {options.namespace}/{options.name} (uid {options.uid!r}, attempt {options.attempt})"
                " exists already, or is just being made"
            ) from error

    def publish(self, full_id: str, facts: PodFacts) -> None:
        """creating → ready."""
        self._update(full_id, "state = 'ready', owner = '', facts = ?", (_text(facts),), "", "started")

    def mark_stopped(self, full_id: str, facts: PodFacts | None = None) -> None:
        """ready → notready; with `facts`, what is left of the pod."""
        if facts is not None:
            self.save_facts(full_id, facts)
        self._update(full_id, "state = 'notready'", (), "AND state != 'notready'", "stopped")

    def save_facts(self, full_id: str, facts: PodFacts) -> None:
        self._update(full_id, "facts = ?", (_text(facts),), "", None)

    def save_resources(self, full_id: str, resources: Resources, overhead: Resources) -> None:
        """What an update has changed shows in the options from now on."""
        options = replace(self.get(full_id).options, resources=resources, overhead=overhead)
        self._update(full_id, "options = ?", (_text(options),), "", None)

    def save_networks(self, full_id: str, networks: Sequence[NetworkUse], facts: PodFacts) -> None:
        """The pod is on these from now on, and so it is after its next revival."""
        options = replace(self.get(full_id).options, networks=tuple(networks), connected=bool(networks))
        self._update(full_id, "options = ?, facts = ?", (_text(options), _text(facts)), "", None)

    def get(self, full_id: str) -> PodRecord:
        return _read_pod(self._get_row(full_id))

    def list(self, wanted: PodFilter = PodFilter()) -> Sequence[PodRecord]:  # noqa: B008 - immutable
        """Newest first."""
        rows = self._list({"id": wanted.id})
        return [
            record
            for record in map(_read_pod, rows)
            if wanted.state in ("", record.state)
            and wanted.origin in ("", record.options.origin)
            and _has_labels(record.options.labels, wanted.labels)
        ]

    def list_unfinished(self) -> Sequence[PodRecord]:
        """Those in state creating: being made right now, or left by a process that died."""
        return [_read_pod(row) for row in self._fetch("state = 'creating'", ())]


def _read_pod(row: sqlite3.Row) -> PodRecord:
    """`row` has the table's columns in their order."""
    pod_id, _, _, _, _, state, owner, created_at_ns, options, facts = row
    what = f"pod record {pod_id}"
    asked, became = _decode(options, PodOptions, what), _decode(facts, PodFacts, what)
    return PodRecord(pod_id, asked, state, owner, created_at_ns, became)


class ContainerRecords(_Table):
    def __init__(self, database: Database, feed: Feed) -> None:
        super().__init__(database, "containers", "container", feed)

    def reserve(self, record: ContainerRecord) -> None:
        """Take the name in the pod; AlreadyExists when it is taken."""
        options = record.options
        row = (record.id, record.pod_id, options.name, options.attempt, record.state, record.owner)
        try:
            with self._database.write() as connection:
                connection.execute(
                    "INSERT INTO containers (id, pod_id, name, attempt, state, owner, created_at_ns,"
                    " options, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, record.created_at_ns, _text(options), _text(record.facts)),
                )
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(
                f"container {options.name!r} (attempt {options.attempt}) exists already in pod {record.pod_id},"
                " or is just being made"
            ) from error

    def publish(self, full_id: str, facts: ContainerFacts) -> None:
        """creating → created, unless it has ended already."""
        self._update(
            full_id,
            "state = CASE state WHEN 'creating' THEN 'created' ELSE state END, owner = '', facts = ?",
            (_text(facts),),
            "",
            "created",
        )

    def revive(self, full_id: str, facts: ContainerFacts) -> None:
        """exited → created: what its last life came to is forgotten."""
        self._update(
            full_id,
            "state = 'created', started_at_ns = 0, finished_at_ns = 0, exit_code = NULL, reason = '',"
            " message = '', facts = ?",
            (_text(facts),),
            "",
            "created",
        )

    def save_facts(self, full_id: str, facts: ContainerFacts) -> None:
        self._update(full_id, "facts = ?", (_text(facts),), "", None)

    def mark_started(self, full_id: str, started_at_ns: int) -> None:
        """created → running; one that has ended meanwhile keeps its state.  The first report of a start counts."""
        self._update(
            full_id,
            "started_at_ns = ?, state = CASE state WHEN 'created' THEN 'running' ELSE state END",
            (started_at_ns,),
            "AND started_at_ns = 0",
            "started",
        )

    def mark_unknown(self, full_id: str) -> None:
        self._update(full_id, "state = 'unknown'", (), "AND state IN ('created', 'running')", None)

    def mark_exited(self, full_id: str, end: Exit, *, overrule: bool = False) -> None:
        """The first report of an end counts, unless a later one knows better (`overrule`)."""
        self._update(
            full_id,
            "state = 'exited', exit_code = ?, finished_at_ns = ?, reason = ?, message = ?",
            (end.exit_code, end.finished_at_ns, end.reason, end.message),
            "" if overrule else "AND state != 'exited'",
            "stopped",
        )

    def save_resources(self, full_id: str, resources: Resources) -> None:
        """What an update has changed shows in the options from now on."""
        options = replace(self.get(full_id).options, resources=resources)
        self._update(full_id, "options = ?", (_text(options),), "", None)

    def get(self, full_id: str) -> ContainerRecord:
        return _read_container(self._get_row(full_id))

    def list(self, wanted: ContainerFilter = ContainerFilter()) -> Sequence[ContainerRecord]:  # noqa: B008
        """Newest first."""
        rows = self._list({"id": wanted.id, "pod_id": wanted.pod_id})
        return [
            record
            for record in map(_read_container, rows)
            if wanted.state in ("", record.state)
            and wanted.origin in ("", record.options.origin)
            and _has_labels(record.options.labels, wanted.labels)
        ]

    def list_unfinished(self) -> Sequence[ContainerRecord]:
        return [_read_container(row) for row in self._fetch("state = 'creating'", ())]

    def list_users(self, image_id: str, references: Sequence[str]) -> Sequence[str]:
        """Ids of the containers made from an image, or with it as a volume, under any of its references."""
        where = (
            "json_extract(facts, '$.image_id') = ? OR EXISTS (SELECT 1 FROM json_each(facts, '$.volumes')"
            " WHERE value IN (SELECT value FROM json_each(?)))"
        )
        names = encode([image_id, *references]).decode()
        return [row["id"] for row in self._fetch(where, (image_id, names))]


def _read_container(row: sqlite3.Row) -> ContainerRecord:
    """`row` has the table's columns in their order."""
    container_id, pod_id, _, _, state, owner, created, started, finished, code, reason, message, *rest = row
    what = f"container record {container_id}"
    asked, became = _decode(rest[0], ContainerOptions, what), _decode(rest[1], ContainerFacts, what)
    return ContainerRecord(
        container_id, pod_id, asked, state, owner, created, started, finished, code, reason, message, became
    )
