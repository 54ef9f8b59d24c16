"""What the copy engine asks of a place that holds images: one Source, one Destination.

    Source                              Destination
      read_manifest()  ── Document ──▶    traits            what it can hold
      open_blob()      ── bytes ─────▶    find_blob()       is it there already?
      read_signatures()                   put_blob()        content first,
      list_referrers()                    put_manifest()    what names it next,
                                          commit()          the name last

Every transport is a module with one of each; none knows of another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest

Chunks = Iterator[bytes]
OpenChunks = Callable[[], AbstractContextManager[Chunks]]


class Document(NamedTuple):
    """A manifest or index exactly as it is stored; `digest` is that of `raw`."""

    raw: bytes
    media_type: str
    digest: Digest

    def describe(self) -> Descriptor:
        return Descriptor(self.media_type, str(self.digest), len(self.raw))


class Traits(NamedTuple):
    """What a destination can hold.

    `manifest_types` has the preferred one first; those of `tolerated` are held too, but become
    the preferred one unless the digests must stay or they were asked for.  `layers` says whether plain layers are
    compressed on the way in ("compressed"), compressed ones unpacked ("plain"), or neither;
    `encrypted` that layers may be; `keeps_digests` is False where manifests are written anew on reading.
    """

    manifest_types: tuple[str, ...]
    tolerated: tuple[str, ...] = ()
    indexes: bool = False
    layers: Literal["any", "compressed", "plain"] = "any"
    encrypted: bool = True
    signatures: bool = False
    referrers: bool = False
    keeps_digests: bool = True


ANY_MANIFEST = (mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST)


class Content(NamedTuple):
    """A blob to be written.

    `open` gives its chunks from the start, anew at every call; they are verified: the
    iteration raises before its end when they are not what they should be.  `digest` is None
    and `size_bytes` -1 when only the end will tell.
    """

    open: OpenChunks
    digest: Digest | None = None
    size_bytes: int = -1


class Written(NamedTuple):
    digest: Digest
    size_bytes: int


class ManifestRefused(InvalidArgument):
    """The destination takes no manifests of this type, which it had not said before.

    `instead` is the type of manifest that may do.
    """

    def __init__(self, message: str, *, hint: str = "", instead: str) -> None:
        super().__init__(message, hint=hint)
        self.instead = instead


class Source(ABC):
    """An image somewhere; safe to be read by several threads."""

    name: str

    @abstractmethod
    def read_manifest(self, digest: Digest | None = None) -> Document:
        """The manifest or index that the name means, or the one with `digest` beside it.

        Raises NotFound, DataLoss (another digest), and what the medium raises.
        """

    @abstractmethod
    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        """The blob's verified content: DataLoss comes before the end of the iteration, or it is right.

        A `size` of 0 with another digest than that of nothing means that the size is unknown
        (schema 1).
        """

    def read_signatures(self, digest: Digest) -> tuple[bytes, ...]:  # noqa: ARG002
        """Signatures of the manifest `digest`, each as `dir:` keeps it; none by default."""
        return ()

    def list_referrers(self, digest: Digest) -> tuple[Descriptor, ...]:  # noqa: ARG002
        """Manifests whose subject is `digest` (OCI referrers); none by default."""
        return ()

    def list_tags(self) -> list[str]:
        """All names beside this one; Unimplemented where the transport has none."""
        raise Unimplemented(f"{self.name}: this transport has no list of tags")

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what reading took."""


class Destination(ABC):
    """Where an image goes; safe to be written by several threads, complete after `commit`."""

    name: str
    traits: Traits

    def find_blob(self, blob: Descriptor) -> bool:  # noqa: ARG002
        """Whether the blob is there and need not be put; changes nothing."""
        return False

    def mount_blob(self, blob: Descriptor, origin: Source) -> bool:  # noqa: ARG002
        """Take the blob over from `origin` without moving bytes; False when that cannot be."""
        return False

    def may_mount(self, blob: Descriptor, origin: Source) -> str:  # noqa: ARG002
        """Where `mount_blob` would take the blob from, "" when nowhere; changes nothing."""
        return ""

    def begin(self) -> None:  # noqa: B027 - most have nothing to make
        """Make what writing needs; called once before the first put, never by a dry run."""

    @abstractmethod
    def put_blob(self, content: Content) -> Written:
        """Keep a blob; idempotent.  Nothing of a failed one is visible."""

    @abstractmethod
    def put_manifest(self, document: Document, *, top: bool) -> None:
        """Keep a manifest or index whose content is there; `top` is the one that gets the name.

        Raises ManifestRefused when another type of manifest may do.
        """

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:  # noqa: ARG002
        """Keep signatures of the manifest `digest`."""
        raise Unimplemented(f"{self.name}: this transport keeps no signatures")

    def commit(self) -> None:  # noqa: B027 - where the manifest alone makes the image visible
        """Make the image visible, at once and whole, under its name."""

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what writing took; without a `commit` before, nothing is left but blobs."""

    @abstractmethod
    def describe_blob(self, digest: str) -> str:
        """What `put_blob` will do, in one line for a dry run; `digest` is "" when not known yet."""

    @abstractmethod
    def describe_manifest(self, digest: str, *, top: bool) -> str:
        """What `put_manifest` will do, in one line."""
