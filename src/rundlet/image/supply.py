"""Where a repair gets content again: from the image's own repository, by the way that any pull takes.

repository@digest ─▶ registries.conf, auth.json ─▶ the first mirror or registry that has the image
                  ─▶ the policy, by the names that the image has here ─▶ its blobs
"""

import sqlite3

from rundlet.errors import Error, PermissionDenied
from rundlet.registry.access import Registries, Remote
from rundlet.spec.digest import Digest, parse_digest
from rundlet.spec.reference import Reference, parse_reference
from rundlet.store.store import Store
from rundlet.trust.check import SignedManifest
from rundlet.trust.gate import Gate


class Supply:
    """`gate` None: no policy is asked.  What has been found and judged once is not asked again."""

    def __init__(self, registries: Registries, gate: Gate | None = None) -> None:
        self._registries = registries
        self._gate = gate
        self._opened: dict[str, Remote] = {}

    def open(self, store: Store, source: str) -> Remote:
        """Where blobs of the image that came from `source` ("repository@digest") can be had.

        Raises what `Registries.open` raises, and PolicyRefusal.
        """
        if source not in self._opened:
            self._opened[source] = self._open(store, parse_reference(source))
        return self._opened[source]

    def _open(self, store: Store, source: Reference) -> Remote:
        remote, fetched, _ = self._registries.open(source)
        if self._gate:
            with store.database.read() as connection:
                digests = _list_manifests(connection, source) or [fetched.digest]
                names = _list_names(connection, source)
            for digest in digests:
                if digest != fetched.digest:
                    fetched = remote.client.fetch_manifest(remote.reference, digest, remote.credentials)
                self._admit(self._gate, remote, names, SignedManifest(fetched.raw, fetched.digest))
        return remote

    @staticmethod
    def _admit(gate: Gate, remote: Remote, names: list[Reference], manifest: SignedManifest) -> None:
        """By one of the names it was pulled as: a policy may speak of tags."""
        failure: Error | None = None
        for name in (remote.name, *names):
            try:
                gate.check(remote._replace(name=name), manifest)
                return
            except PermissionDenied as error:
                failure = failure or error
        if failure:
            raise failure


def _list_manifests(connection: sqlite3.Connection, source: Reference) -> list[Digest]:
    """The manifests of this platform that were pulled by `source`, which may be an index."""
    rows = connection.execute(
        "SELECT DISTINCT manifest_digest FROM images JOIN image_digests ON image_id = id WHERE reference = ?",
        (str(source),),
    )
    return [parse_digest(row[0]) for row in rows]


def _list_names(connection: sqlite3.Connection, source: Reference) -> list[Reference]:
    """The names in `source`'s repository that its images have."""
    rows = connection.execute(
        "SELECT DISTINCT name FROM image_names JOIN image_digests USING (image_id) WHERE reference = ?",
        (str(source),),
    )
    names = [parse_reference(row[0]) for row in rows]
    return [name for name in names if name.name == source.name]
