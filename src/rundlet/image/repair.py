"""Carry out the plan of `store.repair`: the part that unpacks, and asks registries."""

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Final, NamedTuple

from rundlet.archive.apply import apply_layer
from rundlet.archive.inherit import copy_implied
from rundlet.archive.tree import make_root, remove_tree
from rundlet.errors import DataLoss, Error, InvalidArgument, NotFound
from rundlet.image.supply import Supply
from rundlet.kernel.failure import translating
from rundlet.kernel.namespace import can_make_devices
from rundlet.registry.access import Remote
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, parse_digest
from rundlet.store import repair
from rundlet.store.check import check_places, check_store, check_tree, hash_file
from rundlet.store.findings import Finding
from rundlet.store.layers import NewLayer, row_id_of
from rundlet.store.locks import Patience
from rundlet.store.notes import LayerNote, SnapshotNote, read_note, unlink_if_there, write_note
from rundlet.store.rebuild import drop_dangling, rebuild_database, recount
from rundlet.store.repair import Step
from rundlet.store.store import Places, Store

# What will be no different another time.
_FINAL: Final = (DataLoss, InvalidArgument, NotFound)

Watcher = Callable[[Step, str], None]
"""Called with each step and why it failed, "" when it did not."""


class Report(NamedTuple):
    """`found` before, `left` after; `done` in their order, `failed` with their reasons."""

    found: tuple[Finding, ...]
    done: tuple[Step, ...]
    failed: tuple[tuple[Step, str], ...]
    left: tuple[Finding, ...]


def plan_repair(places: Places, *, read_data: bool = False) -> tuple[Step, ...]:
    """What `repair_store` would do first.  With a lost database that is to make it anew, and no more is known."""
    findings = check_places(places, read_data=read_data)
    steps = repair.plan_database(findings)
    if steps or not findings:
        return steps
    store = Store.open_untidied(places)
    try:
        return repair.plan_repair(findings, repair.gather_facts(store))
    finally:
        store.close()


def repair_store(
    places: Places,
    supply: Supply | None,
    *,
    read_data: bool = False,
    watch: Watcher = lambda _step, _reason: None,
) -> Report:
    """Mend what can be mended, let go of what cannot, and look again.

    Without a `supply` nothing is fetched.  A full disk, a registry that does not answer or a policy
    that refuses is no reason to let go of anything: then what could not be mended stays, and is
    told.  Raises NotFound (no store), FailedPrecondition (the database must be made anew, but a
    process has it open), ResourceExhausted.
    """
    done: list[Step] = []
    failed: list[tuple[Step, str]] = []
    found = check_places(places, read_data=read_data)
    for step in repair.plan_database(found):
        rebuild_database(places)
        done.append(step)
        watch(step, "")
    store = Store.open_untidied(places)
    try:
        mender = _Mender(store, supply)
        findings = check_store(store, read_data=read_data)
        for plan in (repair.plan_repair, repair.plan_repair, repair.plan_losses):
            if not findings or (plan is repair.plan_losses and mender.may_pass):
                break
            for step in plan(findings, repair.gather_facts(store)):
                reason = mender.carry_out(step)
                watch(step, reason)
                if reason:
                    failed.append((step, reason))
                else:
                    done.append(step)
            findings = check_store(store, read_data=read_data)
        store.tidy()
    finally:
        store.close()
    return Report(found, tuple(done), tuple(failed), findings)


class _Mender:
    """Carries out one step after the other; `may_pass` once one has failed for a reason that may go away."""

    def __init__(self, store: Store, supply: Supply | None) -> None:
        self._store = store
        self._supply = supply
        self._patience = Patience()
        self.may_pass = False
        self._acts: Final[dict[type, Callable[..., None]]] = {
            repair.DropDanglingRows: self._drop_dangling,
            repair.DropName: self._drop_name,
            repair.CountReferences: self._count,
            repair.WriteImageNote: self._write_image_note,
            repair.WriteLayerNote: self._write_layer_note,
            repair.WriteSnapshotNote: self._write_snapshot_note,
            repair.MakeSnapshotDirectories: self._make_snapshot,
            repair.AdoptBlob: self._adopt_blob,
            repair.AdoptLayer: self._adopt_layer,
            repair.Remove: self._remove,
            repair.FetchBlob: self._fetch_blob,
            repair.UnpackLayer: self._unpack,
            repair.ForgetBlob: self._forget_blob,
            repair.DropImage: self._drop_image,
        }

    def carry_out(self, step: Step) -> str:
        """Do it; returns why it failed, "" when it did not."""
        try:
            with translating("repair"):
                self._acts[type(step)](step)
        except Error as error:
            self.may_pass |= not isinstance(error, _FINAL)
            return error.message
        return ""

    # --- rows and notes -----------------------------------------------------

    def _drop_dangling(self, step: repair.DropDanglingRows) -> None:
        with self._store.database.write() as connection:
            drop_dangling(connection, step.table)

    def _drop_name(self, step: repair.DropName) -> None:
        with self._store.database.write() as connection:
            connection.execute("DELETE FROM image_names WHERE name = ?", (step.name,))

    def _count(self, step: repair.CountReferences) -> None:
        with self._store.database.write() as connection:
            recount(self._store, connection, step.image_id)

    def _write_image_note(self, step: repair.WriteImageNote) -> None:
        with self._store.database.write() as connection:
            self._store.images.write_note(connection, step.image_id)

    def _write_layer_note(self, step: repair.WriteLayerNote) -> None:
        """A note that is lost takes the digest of the listing with it, which the next check then misses."""
        path = f"{self._store.layers.path(step.layer_id)}.json"
        note = read_note(path, LayerNote)
        with self._store.database.write() as connection:
            row = self._store.layers.load(connection, step.layer_id)
            write_note(path, LayerNote(*row[1:], listing=note.listing if note else ""))

    def _write_snapshot_note(self, step: repair.WriteSnapshotNote) -> None:
        with self._store.database.write() as connection:
            (image_id,) = connection.execute(
                "SELECT image_id FROM snapshots WHERE key = ?", (step.key,)
            ).fetchone()
            layers = connection.execute(
                "SELECT layer_id FROM snapshot_layers WHERE key = ? ORDER BY position", (step.key,)
            )
            note = SnapshotNote(image_id, tuple(row[0] for row in layers))
            write_note(self._store.snapshots.note_path(step.key), note)

    def _make_snapshot(self, step: repair.MakeSnapshotDirectories) -> None:
        directory = os.path.dirname(self._store.snapshots.note_path(step.key))
        os.makedirs(f"{directory}/work", mode=0o700, exist_ok=True)
        if not os.path.isdir(f"{directory}/upper"):
            make_root(f"{directory}/upper")

    # --- strays -------------------------------------------------------------

    def _remove(self, step: repair.Remove) -> None:
        if os.path.isdir(step.path) and not os.path.islink(step.path):
            remove_tree(step.path)
        else:
            unlink_if_there(step.path)

    def _adopt_blob(self, step: repair.AdoptBlob) -> None:
        digest = parse_digest(step.digest)
        path = self._store.blobs.path(digest)
        with self._store.database.write() as connection:
            if not os.path.islink(path) and hash_file(path, digest.algorithm) == digest:
                self._store.blobs.insert(connection, digest, os.path.getsize(path))
            else:
                unlink_if_there(path)

    def _adopt_layer(self, step: repair.AdoptLayer) -> None:
        layer_id = row_id_of(os.path.basename(step.path))
        note = read_note(f"{self._store.layers.path(layer_id)}.json", LayerNote)
        whole = note is not None and not list(check_tree(self._store, layer_id, read_data=True))
        with self._store.database.write() as connection:
            if note is not None and whole and self._store.layers.adopt(connection, layer_id, note):
                return
            aside = self._store.layers.move_away(connection, layer_id)
        remove_tree(aside)

    # --- content ------------------------------------------------------------

    def _fetch_blob(self, step: repair.FetchBlob) -> None:
        digest = parse_digest(step.digest)
        with self._store.blobs.lock(digest, self._patience):
            self._fetch(digest, step.sources)

    def _fetch(self, digest: Digest, sources: Iterable[str]) -> None:
        """Download the blob from the first source that has it; the caller holds its lock."""
        if self._supply is None:
            raise NotFound(f"blob {digest} is not whole, and nothing may be fetched")
        failure: Error = NotFound(f"blob {digest}: no source is known")
        for source in sources:
            try:
                self._download(self._supply.open(self._store, source), digest)
                return
            except Error as error:
                failure = error if isinstance(failure, _FINAL) else failure
        raise failure

    def _download(self, remote: Remote, digest: Digest) -> None:
        """As a blob, or as the manifest that it may be; docker-registry fails (500) when asked the other way round."""
        self._store.blobs.discard_ingest(digest)
        path = self._store.blobs.ingest_path(digest)
        blob = Descriptor("", str(digest), self._store.blobs.recorded_size(digest))
        try:
            remote.client.download_blob(remote.reference, blob, path, remote.credentials)
        except NotFound:
            raw = remote.client.fetch_manifest(remote.reference, digest, remote.credentials).raw
            with open(path, "wb") as file:
                file.write(raw)
        self._store.blobs.adopt(digest, os.path.getsize(path))

    def _unpack(self, step: repair.UnpackLayer) -> None:
        """From the blob that is here; when that is not whole, from the same fetched anew."""
        with self._store.database.read() as connection:
            row = self._store.layers.load(connection, step.layer_id)
        layer, digest = NewLayer(*row[1:]), parse_digest(step.blob_digest)
        with ExitStack() as held:
            held.enter_context(self._store.layers.lock(layer.chain_id, self._patience))
            held.enter_context(self._store.blobs.lock(digest, self._patience))
            try:
                self._unpack_blob(step.layer_id, layer, digest)
            except (NotFound, DataLoss, InvalidArgument):
                self._fetch(digest, step.sources)
                self._unpack_blob(step.layer_id, layer, digest)

    def _unpack_blob(self, layer_id: int, layer: NewLayer, digest: Digest) -> None:
        with self._store.layers.unpack_dir(layer.chain_id) as path:
            with translating(f"blob {digest}"), open(self._store.blobs.path(digest), "rb", 0) as file:
                stats = apply_layer(
                    file, path, devices=can_make_devices(), algorithm=parse_digest(layer.diff_id).algorithm
                )
            if str(stats.diff_id) != layer.diff_id:
                raise DataLoss(f"blob {digest} unpacks to diff id {stats.diff_id}, not to {layer.diff_id}")
            copy_implied(path, self._store.layers.stack(self._below(layer_id)), stats.implied)
            mended = layer._replace(size_bytes=stats.size_bytes, inodes=stats.inodes)
            self._store.layers.publish(path, mended, stats.checksums)

    def _below(self, layer_id: int) -> list[int]:
        """The layers under this one, bottom first: a layer has the same ones in every image."""
        with self._store.database.read() as connection:
            rows = connection.execute(
                "SELECT below.layer_id FROM image_layers AS own JOIN image_layers AS below"
                " ON below.image_id = own.image_id AND below.position < own.position"
                " WHERE own.layer_id = ? GROUP BY below.layer_id ORDER BY below.position",
                (layer_id,),
            )
            return [row[0] for row in rows]

    # --- losses -------------------------------------------------------------

    def _forget_blob(self, step: repair.ForgetBlob) -> None:
        with self._store.database.write() as connection:
            connection.execute("DELETE FROM image_blobs WHERE digest = ?", (step.digest,))
            self._store.blobs.remove(connection, parse_digest(step.digest))

    def _drop_image(self, step: repair.DropImage) -> None:
        with self._store.database.write() as connection:
            connection.execute("DELETE FROM images WHERE id = ?", (step.image_id,))
            self._store.images.write_note(connection, step.image_id)
