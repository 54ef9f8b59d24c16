"""docker: an image in a registry.

Reading asks the mirrors that registries.conf names, writing only the registry itself.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from rundlet.errors import InvalidArgument, NotFound
from rundlet.image.documents import describe_referrer, find_media_type, find_subject
from rundlet.image.location import Location
from rundlet.image.transport import (
    ANY_MANIFEST,
    Chunks,
    Content,
    Destination,
    Document,
    ManifestRefused,
    Source,
    Traits,
    Written,
)
from rundlet.registry import repository
from rundlet.registry.access import Opened, Registries, Remote
from rundlet.registry.message import StreamBody
from rundlet.registry.refusal import Unacceptable
from rundlet.registry.settings import Credentials
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, digest_hasher, parse_digest
from rundlet.spec.reference import Reference

if TYPE_CHECKING:
    from rundlet.trust.storage import SignatureStorage


class KnownBlobs:
    """In which repository of each registry a blob has been seen, to mount it from there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[tuple[str, str], str] = {}

    def note(self, reference: Reference, digest: str) -> None:
        with self._lock:
            self._places.setdefault((reference.domain, digest), reference.path)

    def find(self, reference: Reference, digest: str) -> str:
        """A repository of the same registry that has the blob, "" when none is known."""
        with self._lock:
            return self._places.get((reference.domain, digest), "")


class Reach(NamedTuple):
    """How registries are reached; `credentials` None: those of auth.json."""

    registries: Registries
    credentials: Credentials | None
    known: KnownBlobs
    signatures: "SignatureStorage"


def _reference_of(location: Location) -> Reference:
    if location.reference is None:
        raise InvalidArgument(f"{location}: no name of an image")
    return location.reference


class RemoteSource(Source):
    """The manifest decides once which endpoint is read: index, images and blobs come from one."""

    def __init__(self, location: Location, reach: Reach) -> None:
        self.name = str(location)
        self.reference = _reference_of(location)
        self._reach = reach
        self._lock = threading.Lock()

    @cached_property
    def _opened(self) -> Opened:
        with self._lock:
            return self._reach.registries.open(self.reference, self._reach.credentials)

    @property
    def _remote(self) -> Remote:
        return self._opened.remote

    def read_manifest(self, digest: Digest | None = None) -> Document:
        if digest is None:
            fetched = self._opened.fetched
        else:
            remote = self._remote
            fetched = remote.client.fetch_manifest(remote.reference, digest, remote.credentials)
        return Document(fetched.raw, find_media_type(fetched.raw, fetched.media_type), fetched.digest)

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        remote, digest = self._remote, blob.parsed_digest()
        size_bytes = blob.size or self._ask_size(digest)
        self._reach.known.note(remote.reference, blob.digest)
        return remote.client.open_blob(remote.reference, digest, size_bytes, credentials=remote.credentials)

    def _ask_size(self, digest: Digest) -> int:
        found = repository.find_blob(self._remote, digest)
        if found is None:
            raise NotFound(f"{self.name}: the registry has no blob {digest}")
        return found

    def read_signatures(self, digest: Digest) -> tuple[bytes, ...]:
        return self._reach.signatures.read(self._remote, digest)

    def list_referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return repository.list_referrers(self._remote, digest)

    def list_tags(self) -> list[str]:
        remote = self._reach.registries.home(self.reference, self._reach.credentials)
        return remote.client.list_tags(remote.reference, remote.credentials)


class RemoteDestination(Destination):
    """`tags` are further tags of the same repository."""

    def __init__(self, location: Location, reach: Reach, tags: Sequence[str] = ()) -> None:
        self.name = str(location)
        self.traits = Traits(ANY_MANIFEST, indexes=True, layers="compressed", signatures=True, referrers=True)
        self._signatures = reach.signatures
        reference = _reference_of(location)
        self.reference = reference
        self._untagged = location.untagged
        self._remote = reach.registries.home(reference, reach.credentials)
        self._known = reach.known
        self._tags = tags

    def find_blob(self, blob: Descriptor) -> bool:
        found = repository.find_blob(self._remote, blob.parsed_digest()) is not None
        if found:
            self._known.note(self._remote.reference, blob.digest)
        return found

    def may_mount(self, blob: Descriptor, origin: Source) -> str:
        target = self._remote.reference
        if isinstance(origin, RemoteSource) and origin.reference.domain == target.domain:
            path = origin.reference.path
        else:
            path = self._known.find(target, blob.digest)
        return path if path != target.path else ""

    def mount_blob(self, blob: Descriptor, origin: Source) -> bool:
        path = self.may_mount(blob, origin)
        return bool(path) and repository.mount_blob(self._remote, blob.parsed_digest(), path)

    def put_blob(self, content: Content) -> Written:
        if content.digest is None:
            return self._put_stream(content)
        repository.push_blob(self._remote, content.digest, StreamBody(content.open, content.size_bytes))
        self._known.note(self._remote.reference, str(content.digest))
        return Written(content.digest, content.size_bytes)

    def _put_stream(self, content: Content) -> Written:
        hasher, size_bytes = digest_hasher("sha256"), 0

        @contextmanager
        def open_hashed() -> Iterator[Chunks]:
            nonlocal hasher, size_bytes
            hasher, size_bytes = digest_hasher("sha256"), 0
            with content.open() as chunks:
                yield pass_on(chunks)

        def pass_on(chunks: Chunks) -> Chunks:
            nonlocal size_bytes
            for chunk in chunks:
                hasher.update(chunk)
                size_bytes += len(chunk)
                yield chunk

        location = repository.push_stream(self._remote, StreamBody(open_hashed))
        digest = Digest("sha256", hasher.hexdigest())
        repository.finish_stream(self._remote, location, digest)
        self._known.note(self._remote.reference, str(digest))
        return Written(digest, size_bytes)

    def put_manifest(self, document: Document, *, top: bool) -> None:
        wanted = self.reference.digest
        if top and wanted and wanted != document.digest:
            raise InvalidArgument(
                f"{self.name}: the image has digest {document.digest} here",
                hint="--preserve-digests keeps the source's",
            )
        names = [self.reference.tag, *self._tags] if top and not self._untagged else []
        noted = False
        try:
            for name in [each for each in names if each] or [str(document.digest)]:
                noted = repository.push_manifest(self._remote, document.raw, document.media_type, name)
        except Unacceptable as error:
            oci = document.media_type in (mediatype.OCI_MANIFEST, mediatype.OCI_INDEX)
            instead = mediatype.DOCKER_MANIFEST if oci else mediatype.OCI_MANIFEST
            raise ManifestRefused(error.message, hint=error.hint, instead=instead) from error
        subject = find_subject(document)
        if subject and not noted:
            repository.add_fallback_referrer(self._remote, parse_digest(subject), describe_referrer(document))

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        known = set(self._signatures.read(self._remote, digest))
        self._signatures.add(self._remote, digest, [each for each in signatures if each not in known])

    def describe_blob(self, digest: str) -> str:
        base = f"{self._remote.reference.domain}/v2/{self._remote.reference.path}/blobs"
        return f"POST {base}/uploads/ and PUT it as {digest or 'what its digest will be'}"

    def describe_manifest(self, digest: str, *, top: bool) -> str:
        name = (self.reference.tag if top and not self._untagged else "") or digest or "its digest"
        return f"PUT {self._remote.reference.domain}/v2/{self._remote.reference.path}/manifests/{name}"
