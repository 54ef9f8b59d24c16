"""One layer from the registry into a directory: downloaded, unpacked on the way, verified."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from io import FileIO
from typing import NamedTuple, Protocol

from rundlet.archive.apply import LayerStats, apply_layer
from rundlet.archive.tree import make_root, remove_tree
from rundlet.errors import DataLoss, Error, Internal
from rundlet.image.follow import Follower, Restarted
from rundlet.image.progress import PullProgress, Watcher
from rundlet.kernel.failure import is_disk_full, translating
from rundlet.kernel.namespace import can_make_devices
from rundlet.registry.settings import Credentials
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import parse_digest
from rundlet.spec.reference import Reference
from rundlet.step import step
from rundlet.store.layers import LayerRecord, NewLayer
from rundlet.store.locks import Patience
from rundlet.store.store import Store
from rundlet.trace.span import advances, describe


class Downloader(Protocol):
    """The part of `RegistryClient` that brings a layer."""

    def download_blob(
        self,
        ref: Reference,
        descriptor: Descriptor,
        path: str,
        credentials: Credentials | None = None,
        progress: Callable[[int], None] | None = None,
        cancel: threading.Event | None = None,
        *,
        deadline_ns: int | None = None,
    ) -> None: ...


class Source(NamedTuple):
    """Where the layers that are not here come from, and how long that may take."""

    client: Downloader
    reference: Reference
    credentials: Credentials | None
    patience: Patience
    watch: Watcher


class LayerPlan(NamedTuple):
    """A layer as manifest and config describe it together."""

    chain_id: str
    diff_id: str
    descriptor: Descriptor


class Unpacked(NamedTuple):
    """A verified layer in a directory of its own, to be published; `held` are its lock and directory."""

    path: str
    layer: NewLayer
    stats: LayerStats
    held: ExitStack


def bring_layer(store: Store, source: Source, plan: LayerPlan) -> LayerRecord | Unpacked:
    """The layer that is here already, or a new one unpacked; the caller publishes it and closes `held`.

    Raises what the registry client raises, InvalidArgument (not a layer), DataLoss (not the
    layer that the config names), ResourceExhausted; then nothing but the part of an
    interrupted download is left.
    """
    with ExitStack() as held:
        found = store.layers.find(plan.chain_id)
        if found is None:
            held.enter_context(store.layers.lock(plan.chain_id, source.patience))
            found = store.layers.find(plan.chain_id)  # somebody else may have made it meanwhile
        if found is not None:
            with step("layer.reuse", plan.descriptor.digest):
                advances(0, plan.descriptor.size)
                _report_ready(source, plan.descriptor)
            return found
        path = held.enter_context(store.layers.unpack_dir(plan.chain_id))
        stats = _unpack(store, source, plan, path)
        _report_ready(source, plan.descriptor)
        layer = NewLayer(plan.chain_id, plan.diff_id, plan.descriptor.digest, stats.size_bytes, stats.inodes)
        return Unpacked(path, layer, stats, held.pop_all())


def _report_ready(source: Source, descriptor: Descriptor) -> None:
    source.watch(PullProgress(descriptor.digest, "ready", descriptor.size, descriptor.size))


def _unpack(store: Store, source: Source, plan: LayerPlan, path: str) -> LayerStats:
    digest = plan.descriptor.parsed_digest()
    with store.blobs.lock(digest, source.patience):
        stats = None
        if store.blobs.find(digest) is None:
            stats = _download(store, source, plan, path)
    if stats is None:
        stats = _unpack_blob(store, source, plan, path)
    if str(stats.diff_id) != plan.diff_id:
        raise DataLoss(
            f"layer {plan.descriptor.digest} unpacks to diff id {stats.diff_id}, not to {plan.diff_id}"
        )
    return stats


def _unpack_blob(store: Store, source: Source, plan: LayerPlan, path: str) -> LayerStats:
    digest = plan.descriptor.parsed_digest()
    with translating(f"blob {digest}"), open(store.blobs.path(digest), "rb", buffering=0) as file:
        return _apply(_ImpatientFile(file, source.patience), plan, path)


class _ImpatientFile:
    """A file that stops being readable when the pull must end."""

    def __init__(self, file: FileIO, patience: Patience) -> None:
        self._file = file
        self._patience = patience
        self.error: Error | None = None

    def stop(self) -> None:
        """A file does not keep its reader waiting."""

    def read(self, size: int, /) -> bytes:
        try:
            self._patience.check("unpack")
        except Error as error:
            self.error = error
            raise
        return self._file.read(size)


def _apply(reader: Follower | _ImpatientFile, plan: LayerPlan, path: str) -> LayerStats:
    """Unpack `reader`; an error of the layer names it, an error of the reader comes as it is."""
    algorithm = parse_digest(plan.diff_id).algorithm
    try:
        with translating(f"layer {plan.descriptor.digest}"), step("layer.unpack"):
            return apply_layer(
                reader, path, devices=can_make_devices(), algorithm=algorithm, stop=reader.stop
            )
    except Error as error:
        if error is reader.error:
            raise
        raise type(error)(f"layer {plan.descriptor.digest}: {error.message}", hint=error.hint) from (
            error.__cause__ or error
        )


def _download(store: Store, source: Source, plan: LayerPlan, path: str) -> LayerStats | None:
    """Download the blob into the store, unpacking it at the same time.

    None when it is here but was not unpacked, since the download began anew on the way.
    The caller holds the blob's lock.
    """
    digest = plan.descriptor.parsed_digest()
    with translating(f"blob {digest}"), Follower(store.blobs.ingest_path(digest)) as follower:
        try:
            stats = _follow(source, plan, follower, path)
        except Error as error:
            # The part that an interrupted download leaves is gone on with; not so what does not
            # unpack, nor what fills the disk.
            if error is not follower.error or is_disk_full(error):
                store.blobs.discard_ingest(digest)
            raise
    store.blobs.adopt(digest, plan.descriptor.size)
    return stats


def _follow(source: Source, plan: LayerPlan, follower: Follower, path: str) -> LayerStats | None:
    thread = threading.Thread(
        target=copy_context().run,
        args=(_run_download, source, plan.descriptor, follower),
        name="layer download",
    )
    thread.start()
    try:
        return _apply(follower, plan, path)
    except Restarted:
        thread.join()
        follower.check()
        remove_tree(path)
        make_root(path)
        return None
    except BaseException:
        source.patience.set()  # the pull as a whole has failed: the download ends too
        raise
    finally:
        thread.join()


def _run_download(source: Source, descriptor: Descriptor, follower: Follower) -> None:
    def report(done_bytes: int) -> None:
        follower.grew(done_bytes)
        advances(done_bytes, descriptor.size)
        source.watch(PullProgress(descriptor.digest, "downloading", done_bytes, descriptor.size))

    try:
        with translating(f"download of {descriptor.digest}"), step("layer.download", descriptor.digest):
            describe(descriptor.media_type)
            source.client.download_blob(
                source.reference,
                descriptor,
                follower.path,
                source.credentials,
                report,
                source.patience,
                deadline_ns=source.patience.deadline_ns,
            )
    except Error as error:
        follower.finish(error)
    except Exception as error:  # noqa: BLE001  whatever it is, the reader must not wait for ever
        failed = Internal(f"download of {descriptor.digest} failed unexpectedly: {error!r}")
        failed.__cause__ = error
        follower.finish(failed)
    else:
        follower.finish(None)
