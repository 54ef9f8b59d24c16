"""Content by digest: manifests, configs and compressed layers, as the registry served them."""

import os
import re
import secrets
import time
from contextlib import AbstractContextManager
from sqlite3 import Connection

from rundlet.errors import DataLoss, NotFound
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest, parse_digest
from rundlet.step import step
from rundlet.store.database import Database
from rundlet.store.locks import Locks, Patience
from rundlet.store.notes import unlink_if_there
from rundlet.store.schema import KEPT_S, compute_kept_until_s

_INGEST = re.compile(r"sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128}")


class Blobs:
    """What `find` knows is whole and verified; what is still coming lies in `ingest_path`."""

    def __init__(self, root: str, database: Database, locks: Locks, boot_id: str) -> None:
        self._root = root
        self._database = database
        self._locks = locks
        self._boot_id = boot_id

    def path(self, digest: Digest) -> str:
        return f"{self._root}/blobs/{digest.algorithm}/{digest.hex}"

    def ingest_path(self, digest: Digest) -> str:
        """Where a download of `digest` grows; its writer holds `lock`."""
        return f"{self._root}/ingest/{digest.algorithm}-{digest.hex}"

    def draft_path(self) -> str:
        """Where a blob whose digest is not known yet grows; its writer is bringing content (`Store.bringing`)."""
        return f"{self._root}/ingest/copy-{secrets.token_hex(8)}"

    def list_drafts(self) -> list[str]:
        """What lies among the downloads and is none: drafts, of writers at work or dead."""
        top = f"{self._root}/ingest"
        return [f"{top}/{name}" for name in sorted(os.listdir(top)) if not _INGEST.fullmatch(name)]

    def lock(self, digest: Digest, patience: Patience) -> AbstractContextManager[None]:
        """The right to download `digest`, among all threads and processes."""
        return self._locks.hold(_lock_name(digest), patience)

    def find(self, digest: Digest) -> int | None:
        """The size in bytes of a blob that is here, None when it is not."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT size_bytes FROM blobs WHERE digest = ?", (str(digest),)
            ).fetchone()
        if row is None or not os.path.exists(self.path(digest)):
            return None
        size_bytes: int = row[0]
        return size_bytes

    def recorded_size(self, digest: Digest) -> int:
        """The size in bytes that a blob has, or had before it was lost.  Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT size_bytes FROM blobs WHERE digest = ?", (str(digest),)
            ).fetchone()
        if row is None:
            raise NotFound(f"blob {digest} has never been here")
        return int(row[0])

    def is_coming(self, digest: Digest) -> bool:
        """Whether somebody is bringing the blob right now."""
        with self._locks.try_hold(_lock_name(digest)) as held:
            return not held

    def read(self, digest: Digest) -> bytes:
        """The whole blob; for documents.  Raises NotFound, and DataLoss when the disk changed it."""
        try:
            with translating(f"blob {digest}"), open(self.path(digest), "rb") as file:
                data = file.read()
        except NotFound as error:
            raise NotFound(f"blob {digest} is not here") from error
        if Digest.of(data, digest.algorithm) != digest:
            raise DataLoss(f"blob {digest}: its content has changed on disk", hint="pull the image again")
        return data

    def put(self, data: bytes, digest: Digest, patience: Patience) -> None:
        """Keep `data`, which has `digest`; nothing happens when it is here."""
        if self.find(digest) is not None:
            return
        with self.lock(digest, patience), translating(f"blob {digest}"):
            try:
                with step("blob.write"), open(self.ingest_path(digest), "wb") as file:
                    file.write(data)
                self._publish(self.ingest_path(digest), digest, len(data))
            except BaseException:
                self.discard_ingest(digest)
                raise

    def adopt(self, digest: Digest, size_bytes: int) -> None:
        """Take the verified download at `ingest_path` in; the caller holds `lock`."""
        with translating(f"blob {digest}"):
            self._publish(self.ingest_path(digest), digest, size_bytes)

    def adopt_draft(self, draft: str, digest: Digest, size_bytes: int, patience: Patience) -> None:
        """Take the whole draft in, which has `digest`; it is gone in any case."""
        ingest = self.ingest_path(digest)
        with translating(f"blob {digest}"), self.lock(digest, patience):
            try:
                with step("blob.draft"):
                    os.rename(draft, ingest)
                self._publish(ingest, digest, size_bytes)
            except BaseException:
                unlink_if_there(draft)
                self.discard_ingest(digest)
                raise

    def discard_ingest(self, digest: Digest) -> None:
        """Forget what of a download has come; the caller holds `lock`."""
        unlink_if_there(self.ingest_path(digest))

    def discard_idle_ingest(self, digest: Digest) -> None:
        """The same for a caller without the lock; a download under way in another process stays."""
        with self._locks.try_hold(_lock_name(digest)) as held:
            if held:
                self.discard_ingest(digest)

    def remove(self, connection: Connection, digest: Digest) -> None:
        """Drop file and row, inside the caller's transaction."""
        unlink_if_there(self.path(digest))
        connection.execute("DELETE FROM blobs WHERE digest = ?", (str(digest),))

    def collect_stale(self) -> None:
        """Remove downloads that nobody has gone on with, and rows whose file has never come."""
        self._forget_announced()
        oldest_s = time.time() - KEPT_S
        with os.scandir(f"{self._root}/ingest") as entries:
            for entry in entries:
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < oldest_s:
                        unlink_if_there(entry.path)
                except FileNotFoundError:
                    pass

    def _forget_announced(self) -> None:
        """A row is there before its file: who died in between has left the download to be gone on with."""
        with self._database.read() as connection:
            missing = self._list_announced(connection)
        if not missing:
            return
        with self._database.write() as connection:
            for digest in self._list_announced(connection):
                if not self.is_coming(digest):
                    connection.execute("DELETE FROM blobs WHERE digest = ?", (str(digest),))

    def _list_announced(self, connection: Connection) -> list[Digest]:
        rows = connection.execute(
            "SELECT digest FROM blobs WHERE kept_until_s > 0 AND digest NOT IN (SELECT digest FROM image_blobs)"
        )
        digests = [parse_digest(row[0]) for row in rows]
        return [digest for digest in digests if not os.path.lexists(self.path(digest))]

    def insert(self, connection: Connection, digest: Digest, size_bytes: int) -> None:
        """The row of a blob that is here, or is about to be, inside the caller's transaction."""
        connection.execute(
            "INSERT INTO blobs VALUES (?, ?, ?, ?) ON CONFLICT (digest)"
            " DO UPDATE SET size_bytes = excluded.size_bytes, boot_id = excluded.boot_id",
            (str(digest), size_bytes, self._boot_id, compute_kept_until_s()),
        )
        connection.execute("DELETE FROM borrowed_blobs WHERE digest = ?", (str(digest),))

    def _publish(self, source: str, digest: Digest, size_bytes: int) -> None:
        target = self.path(digest)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with step("blob.record"), self._database.write() as connection:
            self.insert(connection, digest, size_bytes)
        with step("blob.rename"):
            os.rename(source, target)


def _lock_name(digest: Digest) -> str:
    return f"blob-{digest.hex}"
