"""What a copy will do, as values; `planner` makes them and `copy` carries them out.

    CopyPlan
    ├── top: IndexPlan
    │        └── images: ImagePlan, or IndexPlan again
    │                    └── config, layers: BlobStep   here · mount · copy · recode · leave
    └── referrers: ImagePlan

A dry run ends with the plan's description.
"""

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.image.transport import Destination, Document, Source
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, Platform, host_platform
from rundlet.spec.digest import Digest

if TYPE_CHECKING:
    from rundlet.image.jwe import PrivateKey, PublicKey
    from rundlet.spec.schema1 import Schema1

FORMATS: Final = {"oci": mediatype.OCI_MANIFEST, "v2s2": mediatype.DOCKER_MANIFEST}

PACKINGS: Final = ("gzip", "zstd")
Instances = Literal["system", "all", "index-only"]
Action = Literal["here", "mount", "copy", "recode", "leave"]


class Packing(NamedTuple):
    """How a layer is compressed; `format` "" leaves it plain, `level` 0 is the format's usual one.

    `chunked`: zstd with a table of contents (`image.chunked`).
    """

    format: str = "gzip"
    level: int = 0
    chunked: bool = False


def check_packing(packing: Packing) -> Packing:
    """`packing` with "zstd:chunked" taken apart; InvalidArgument for a format or level that is not there."""
    if packing.format == "zstd:chunked":
        packing = packing._replace(format="zstd", chunked=True)
    if packing.format not in ("", *PACKINGS):
        raise InvalidArgument(f"compression format {packing.format!r}: expected gzip, zstd or zstd:chunked")
    highest = {"": 0, "gzip": 9, "zstd": 22}[packing.format]
    if not 0 <= packing.level <= highest:
        raise InvalidArgument(f"compression level {packing.level}: {packing.format} has 1 to {highest}")
    return packing


class CopyOptions(NamedTuple):
    """How to copy; the defaults copy this platform's image as it is.

    `format` is a manifest media type, "" to keep the source's where the destination takes it.
    `packing` is what layers become (None: what they are, but plain ones are compressed where
    that is usual).  `platforms` are the images to take of an index; else `instances` says, and
    "system" is `platform`.  `recipients` encrypt the layers whose positions are `encrypt_layers`
    (all when empty, negative ones count from the top), `keys` decrypt.
    """

    format: str = ""
    packing: Packing | None = None
    preserve_digests: bool = False
    instances: Instances = "system"
    platform: Platform = host_platform()
    platforms: tuple[Platform, ...] = ()
    recipients: "tuple[PublicKey, ...]" = ()
    encrypt_layers: tuple[int, ...] = ()
    keys: "tuple[PrivateKey, ...]" = ()
    remove_signatures: bool = False
    with_referrers: bool = False
    parallel: int = 6


class Recode(NamedTuple):
    """What happens to a layer's bytes on the way; the default is nothing."""

    decrypt: bool = False
    unpack: bool = False
    packing: Packing | None = None
    encrypt: bool = False
    measure: bool = False

    def describe(self) -> list[str]:
        """In order, one word or two each."""
        table = " with a table of contents" if self.packing and self.packing.chunked else ""
        packed = f"compress by {self.packing.format}{table}" if self.packing else ""
        told = ("decrypt" * self.decrypt, "decompress" * self.unpack, packed, "encrypt" * self.encrypt)
        return [each for each in told if each] or ["find its diff id"]


class BlobStep(NamedTuple):
    """One blob.  `media_type` is its type at the destination, `origin` where it is mounted from;
    `diff_id` is what it unpacks to, "" when nobody asks.
    """

    blob: Descriptor
    media_type: str
    action: Action
    recode: Recode = Recode()
    origin: str = ""
    diff_id: str = ""

    @property
    def key(self) -> Hashable:
        """Equal for steps that do the same to the same bytes, whichever layers they are."""
        return self.blob.digest, self.media_type, self.recode, tuple(sorted(self.blob.annotations.items()))


class ImagePlan(NamedTuple):
    """One image; `schema1` is there when its manifest is made anew from an old one."""

    document: Document
    media_type: str
    config: BlobStep | None
    layers: tuple[BlobStep, ...]
    schema1: "Schema1 | None" = None

    def steps(self) -> tuple[BlobStep, ...]:
        return ((self.config,) if self.config else ()) + self.layers


class IndexPlan(NamedTuple):
    """An index and those of its images that are copied; `sparse` keeps the entries of the others."""

    document: Document
    media_type: str
    images: "tuple[ImagePlan | IndexPlan, ...]"
    sparse: bool


class Signed(NamedTuple):
    """The signatures of one manifest, each as `dir:` keeps it."""

    digest: Digest
    signatures: tuple[bytes, ...]


class CopyPlan(NamedTuple):
    """`referrers` come with the images that they refer to, `signed` is what has signatures."""

    top: ImagePlan | IndexPlan
    referrers: tuple[ImagePlan, ...] = ()
    signed: tuple[Signed, ...] = ()

    def images(self) -> Iterator[ImagePlan]:
        """All images, each before what refers to it."""
        yield from _list_images(self.top)
        yield from self.referrers

    def steps(self) -> Iterator[BlobStep]:
        """All blobs, a shared one as often as it is shared."""
        for image in self.images():
            yield from image.steps()


def _list_images(node: ImagePlan | IndexPlan) -> Iterator[ImagePlan]:
    if isinstance(node, ImagePlan):
        yield node
    else:
        for image in node.images:
            yield from _list_images(image)


def describe_plan(plan: CopyPlan, source: Source, destination: Destination) -> list[str]:
    """The plan as lines for people: one for each blob and manifest, in the order they are put."""
    steps = {step.key: step for step in plan.steps()}.values()
    others = [image for image in plan.images() if image is not plan.top]
    return [
        *(_describe_step(step, source, destination) for step in steps),
        *(destination.describe_manifest(_known_digest(image), top=False) for image in others),
        *(f"keep {len(signed.signatures)} signatures of {signed.digest}" for signed in plan.signed),
        destination.describe_manifest(_known_digest(plan.top), top=True),
    ]


def _known_digest(node: ImagePlan | IndexPlan) -> str:
    """The manifest's digest when it stays what it is, "" when it is made anew."""
    if isinstance(node, IndexPlan):
        fixed = node.sparse or all(_known_digest(image) for image in node.images)
    else:
        fixed = node.schema1 is None and all(step.action != "recode" for step in node.steps())
    return str(node.document.digest) if fixed and node.media_type == node.document.media_type else ""


def _describe_step(step: BlobStep, source: Source, destination: Destination) -> str:
    digest = step.blob.digest
    if step.action == "here":
        return f"skip {digest}: it is there"
    if step.action == "leave":
        return f"skip {digest}: it lies at {step.blob.urls[0]}"
    if step.action == "mount":
        return f"mount {digest} from {step.origin}"
    read = f"read {digest} ({step.blob.size} bytes) from {source.name}"
    if step.action == "copy":
        return f"{read}; {destination.describe_blob(digest)}"
    return f"{read}, {', '.join(step.recode.describe())}; {destination.describe_blob('')}"
