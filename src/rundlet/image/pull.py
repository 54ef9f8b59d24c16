"""Pull an image: manifest, config, layers in parallel, then one commit makes it visible.

    resolve      tag → (index → platform's) manifest
    config       names the diff ids, so the chain ids
    layers       workers download and unpack; each is published when all below it are
    image        one transaction; before it there is no image, after it all of it

A pull that is killed leaves verified blobs, published layers and partial downloads, which
the next pull goes on with, and directories that the next opening of the store removes.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rundlet.errors import InvalidArgument, ResourceExhausted
from rundlet.image.layer import LayerPlan, Source
from rundlet.image.progress import PullProgress, Watcher
from rundlet.image.stack import LayerStack, plan_layers
from rundlet.registry.access import Remote
from rundlet.registry.client import Credentials, Fetched, RegistryClient
from rundlet.spec.descriptor import Descriptor, Platform, host_platform
from rundlet.spec.image import parse_image_config
from rundlet.spec.manifest import Manifest, parse_manifest, select_platform
from rundlet.spec.reference import parse_reference
from rundlet.step import step
from rundlet.store.images import ImageRecord, NewImage
from rundlet.store.layers import LayerRecord
from rundlet.store.locks import Patience
from rundlet.store.store import Store

_CONFIG_BYTES_MAX: Final = 8 << 20
_INDEX_DEPTH_MAX: Final = 3


# Raises when an image with this manifest may not come in.
Admit = Callable[[Fetched], object]


class _Resolved(NamedTuple):
    """`documents` are what was fetched on the way: indexes first, the manifest last."""

    manifest: Manifest
    documents: tuple[Fetched, ...]


def pull_image(
    store: Store,
    client: RegistryClient,
    reference: str,
    *,
    credentials: Credentials | None = None,
    platform: Platform | None = None,
    progress: Watcher | None = None,
    deadline_s: float | None = None,
) -> ImageRecord:
    """`pull_remote` of exactly `reference` in its own registry, whatever this host's files say."""
    name = parse_reference(reference)
    return pull_remote(
        store,
        Remote(name, name, client, credentials),
        platform=platform,
        progress=progress,
        deadline_ns=None if deadline_s is None else time.monotonic_ns() + int(deadline_s * 1e9),
    )


def pull_remote(
    store: Store,
    remote: Remote,
    *,
    fetched: Fetched | None = None,
    admit: Admit | None = None,
    platform: Platform | None = None,
    progress: Watcher | None = None,
    deadline_ns: int | None = None,
) -> ImageRecord:
    """Bring an image into `store`; the registry is always asked, what is here stays.

    `fetched` is the manifest or index when the caller has it already.  `admit` is called with
    the platform's manifest before anything else of it is used or stored; what it raises ends
    the pull.  `platform` is this host's unless given; `progress` is called from several
    threads.  Pulls of the same layers, in any process, wait for each other and share the work.
    Raises what `RegistryClient` raises; InvalidArgument (malformed image), DataLoss,
    ResourceExhausted (disk full: then nothing of this pull is left) and DeadlineExceeded.
    """
    source = Source(
        remote.client, remote.reference, remote.credentials, Patience(deadline_ns), progress or _ignore
    )
    source.patience.check(f"pull of {remote.name}")
    pull = _Pull(store, remote, source, admit or _admit_all, fetched)
    with store.bringing(source.patience):
        record = pull.run(platform or host_platform())
    store.sync()
    return record


def _ignore(_progress: PullProgress) -> None: ...


def _admit_all(_manifest: Fetched) -> None: ...


class _Pull:
    """One pull under way."""

    def __init__(
        self, store: Store, remote: Remote, source: Source, admit: Admit, fetched: Fetched | None
    ) -> None:
        self._store = store
        self._client = remote.client
        self._name = remote.name
        self._source = source
        self._admit = admit
        self._fetched = fetched

    def run(self, platform: Platform) -> ImageRecord:
        resolved = self._resolve(platform)
        manifest, documents = resolved
        self._admit(documents[-1])
        raw = self._fetch_config(manifest.config)
        config = parse_image_config(raw, f"config of {self._source.reference}")
        plans = plan_layers(manifest, config)
        try:
            for document in documents:
                self._store.blobs.put(document.raw, document.digest, self._source.patience)
            self._store.blobs.put(raw, manifest.config.parsed_digest(), self._source.patience)
            layers = LayerStack(self._store, self._source).bring(plans)
            return self._publish(resolved, layers)
        except ResourceExhausted as error:
            if isinstance(error.__cause__, (OSError, sqlite3.Error)):  # the disk; not a busy registry
                self._give_up(resolved, plans)
            raise

    def _give_up(self, resolved: _Resolved, plans: Sequence[LayerPlan]) -> None:
        descriptors = (resolved.manifest.config, *(plan.descriptor for plan in plans))
        digests = [document.digest for document in resolved.documents]
        digests += [descriptor.parsed_digest() for descriptor in descriptors]
        self._store.give_up([plan.chain_id for plan in plans], digests)

    def _resolve(self, platform: Platform) -> _Resolved:
        source = self._source
        limits = {"deadline_ns": source.patience.deadline_ns}
        fetched = self._fetched or self._client.resolve(source.reference, source.credentials, **limits)
        documents = [fetched]
        for _ in range(_INDEX_DEPTH_MAX):
            what = f"manifest of {source.reference}"
            document = parse_manifest(fetched.raw, fetched.media_type, what)
            if isinstance(document, Manifest):
                return _Resolved(document, tuple(documents))
            digest = select_platform(document, platform, str(source.reference)).parsed_digest()
            fetched = self._client.fetch_manifest(source.reference, digest, source.credentials, **limits)
            documents.append(fetched)
        raise InvalidArgument(f"{source.reference}: indexes are nested more than {_INDEX_DEPTH_MAX} deep")

    def _fetch_config(self, descriptor: Descriptor) -> bytes:
        digest = descriptor.parsed_digest()
        if self._store.blobs.find(digest) is not None:
            return self._store.blobs.read(digest)
        if descriptor.size > _CONFIG_BYTES_MAX:
            raise InvalidArgument(f"image config {digest} has {descriptor.size} bytes")
        source = self._source
        with (
            step("image.config", str(digest)),
            self._client.open_blob(
                source.reference,
                digest,
                descriptor.size,
                credentials=source.credentials,
                deadline_ns=source.patience.deadline_ns,
            ) as chunks,
        ):
            return b"".join(chunks)

    def _publish(self, resolved: _Resolved, layers: Sequence[LayerRecord]) -> ImageRecord:
        reference = self._name
        asked, manifest = resolved.documents[0].digest, resolved.documents[-1].digest
        return self._store.images.publish(
            NewImage(
                id=resolved.manifest.config.digest,
                name="" if reference.digest else str(reference),
                digest_reference=f"{reference.name}@{asked}",
                manifest_digest=str(manifest),
                layers=tuple(layer.id for layer in layers),
                blobs=(
                    *(str(document.digest) for document in resolved.documents),
                    resolved.manifest.config.digest,
                    *(layer.blob_digest for layer in layers),
                ),
            )
        )
