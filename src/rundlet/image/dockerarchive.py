"""docker-archive: what `docker save` writes and `docker load` reads.

    manifest.json       [{"Config": "<hex>.json", "RepoTags": ["name:tag", …], "Layers": ["<hex>.tar", …]}, …]
    <hex>.json          a config, named by its digest
    <hex>.tar           a plain layer, named by its diff id

Other writers choose other file names (`blobs/sha256/<hex>`, `<id>/layer.tar`, links), and may
have compressed the layers: only manifest.json is asked.  There is no manifest in it, so one
is made on reading: the image keeps its id, not its digest.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Final

from msgspec import Struct

from rundlet.archive.compression import open_decompressed
from rundlet.archive.pack import Member as PackMember
from rundlet.archive.pack import Writable, write_tar
from rundlet.errors import Internal, InvalidArgument, NotFound
from rundlet.image.documents import make_document
from rundlet.image.files import verify_chunks, write_file
from rundlet.image.location import Location
from rundlet.image.recode import ChunkReader
from rundlet.image.tarindex import Member, TarIndex, open_archive, replacing
from rundlet.image.transport import Chunks, Content, Destination, Document, Source, Traits, Written
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, parse_digest
from rundlet.spec.document import parse_document
from rundlet.spec.image import parse_image_config
from rundlet.spec.json import encode
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.spec.reference import Reference, parse_reference

_MAGIC_BYTES: Final = 4
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


class Item(Struct, frozen=True, rename="pascal"):
    """One image of manifest.json."""

    config: str
    layers: tuple[str, ...] = ()
    repo_tags: tuple[str, ...] = ()


class _Layer(Struct, frozen=True):
    diff_id: Digest
    member: Member
    size_bytes: int


def read_items(archive: TarIndex) -> tuple[Item, ...]:
    return parse_document(archive.read("manifest.json"), tuple[Item, ...], f"{archive.name}: manifest.json")


def find_item(items: Sequence[Item], location: Location) -> Item:
    """The image that `location` means; NotFound and InvalidArgument say what there is instead."""
    tags = ", ".join(tag for item in items for tag in item.repo_tags)
    if location.reference is not None:
        for item in items:
            if location.reference in map(parse_reference, item.repo_tags):
                return item
        raise NotFound(f"{location}: no image has this name", hint=f"it has {tags}" if tags else "")
    if location.position >= len(items):
        raise NotFound(f"{location}: there are only {len(items)} images")
    if location.position < 0 and len(items) != 1:
        raise InvalidArgument(
            f"{location}: it holds {len(items)} images", hint=f"name one of {tags}, or @0 …"
        )
    return items[max(location.position, 0)]


class DockerArchiveSource(Source):
    """Reads one image of an open archive, which it closes."""

    def __init__(self, location: Location, archive: TarIndex) -> None:
        self.name = str(location)
        self._archive = archive
        items = read_items(archive)
        self._tags = [tag for item in items for tag in item.repo_tags]
        self._item = find_item(items, location)
        self._config = archive.read(self._item.config)
        self._layers = self._find_layers()

    def _find_layers(self) -> list[_Layer]:
        diff_ids = parse_image_config(self._config, f"{self.name}: {self._item.config}").rootfs.diff_ids
        if len(diff_ids) != len(self._item.layers):
            raise InvalidArgument(f"{self.name}: {len(self._item.layers)} layers, {len(diff_ids)} diff ids")
        found: list[_Layer] = []
        for diff_id, path in zip(map(parse_digest, diff_ids), self._item.layers, strict=True):
            member = self._archive.need(path)
            found.append(_Layer(diff_id, member, self._measure(member)))
        return found

    def _is_compressed(self, member: Member) -> bool:
        head = next(
            self._archive.read_chunks(member._replace(size_bytes=min(_MAGIC_BYTES, member.size_bytes)))
        )
        return head.startswith(_COMPRESSED)

    def _measure(self, member: Member) -> int:
        """The plain layer's size."""
        if not member.size_bytes or not self._is_compressed(member):
            return member.size_bytes
        return sum(map(len, self._decompress(member)))

    def _decompress(self, member: Member) -> Chunks:
        return open_decompressed(ChunkReader(self._archive.read_chunks(member)))

    def read_manifest(self, digest: Digest | None = None) -> Document:
        config = Descriptor(mediatype.DOCKER_CONFIG, str(Digest.of(self._config)), len(self._config))
        layers = [
            Descriptor(mediatype.DOCKER_LAYER, str(layer.diff_id), layer.size_bytes) for layer in self._layers
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatype.DOCKER_MANIFEST,
            "config": config,
            "layers": layers,
        }
        document = make_document(manifest)
        if digest not in (None, document.digest):
            raise NotFound(f"{self.name}: manifest {digest} is not in this archive")
        return document

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        return self._open(blob)

    @contextmanager
    def _open(self, blob: Descriptor) -> Iterator[Chunks]:
        digest = blob.parsed_digest()
        if digest == Digest.of(self._config, digest.algorithm):
            yield iter((self._config,))
            return
        for layer in self._layers:
            if layer.diff_id == digest:
                yield verify_chunks(self._decompress(layer.member), digest, f"{self.name}: layer {digest}")
                return
        raise NotFound(f"{self.name}: blob {digest} is not in this archive")

    def list_tags(self) -> list[str]:
        return sorted(self._tags)

    def close(self) -> None:
        self._archive.close()


def open_docker_archive(location: Location, temporary: str | None = None) -> DockerArchiveSource:
    archive = open_archive(location.path, streamed=location.streamed, directory=temporary)
    try:
        return DockerArchiveSource(location, archive)
    except BaseException:
        archive.close()
        raise


def list_archive_tags(location: Location) -> list[str]:
    """The names of all images of an archive."""
    archive = open_archive(location.path, streamed=location.streamed)
    try:
        return [tag for item in read_items(archive) for tag in item.repo_tags]
    finally:
        archive.close()


class ArchiveDraft:
    """The files of the images that one archive is to hold, in a temporary directory, until all are there."""

    def __init__(self, temporary: str | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rundlet-", dir=temporary)
        self._items: list[Item] = []

    @property
    def directory(self) -> str:
        return self._directory.name

    def place(self, digest: Digest) -> str:
        """Where the content with this digest lies until it is packed."""
        return f"{self.directory}/{digest.hex}"

    def add(self, manifest: Manifest, tags: Sequence[str]) -> None:
        """An image whose content is in place; one that is there already gets further names."""
        config = manifest.config.parsed_digest()
        layers = tuple(f"{layer.parsed_digest().hex}.tar" for layer in manifest.layers)
        item = Item(f"{config.hex}.json", layers, tuple(tags))
        for number, known in enumerate(self._items):
            if known.config == item.config:
                names = tuple(dict.fromkeys((*known.repo_tags, *item.repo_tags)))
                self._items[number] = Item(item.config, item.layers, names)
                return
        self._items.append(item)

    def write_to(self, out: Writable | IO[bytes]) -> None:
        """The archive; the same images give the same bytes."""
        if not self._items:
            raise Internal("an archive without an image")
        names = {name for item in self._items for name in (item.config, *item.layers)}
        members = [PackMember("manifest.json", 0o644, data=encode(tuple(self._items)))]
        members += [
            PackMember(name, 0o644, source=f"{self.directory}/{name.partition('.')[0]}") for name in names
        ]
        write_tar(members, out)

    def close(self) -> None:
        self._directory.cleanup()


class DockerArchiveDestination(Destination):
    """Writes an archive of one image, in place of the one that is there; with a `draft`, adds to that."""

    traits = Traits((mediatype.DOCKER_MANIFEST,), layers="plain", encrypted=False, keeps_digests=False)

    def __init__(
        self,
        location: Location,
        tags: Sequence[Reference] = (),
        temporary: str | None = None,
        draft: ArchiveDraft | None = None,
    ) -> None:
        self.name = str(location)
        self._location = location
        self._alone = draft is None
        self._draft = draft or ArchiveDraft(temporary)
        self._tags = [str(tag) for tag in (location.reference, *tags) if tag and tag.tag]

    def put_blob(self, content: Content) -> Written:
        return write_file(self._draft.directory, content, self._draft.place)

    def find_blob(self, blob: Descriptor) -> bool:
        return os.path.exists(self._draft.place(blob.parsed_digest()))

    def put_manifest(self, document: Document, *, top: bool) -> None:  # noqa: ARG002
        manifest = parse_manifest(document.raw, document.media_type, self.name)
        if not isinstance(manifest, Manifest):
            raise Internal(f"{self.name}: an archive was given an index")
        self._draft.add(manifest, self._tags)

    def commit(self) -> None:
        if self._alone:
            with replacing(self._location.path, streamed=self._location.streamed) as out:
                self.write_to(out)

    def write_to(self, out: Writable | IO[bytes]) -> None:
        """The archive; the same image gives the same bytes."""
        self._draft.write_to(out)

    def close(self) -> None:
        if self._alone:
            self._draft.close()

    def describe_blob(self, digest: str) -> str:
        return f"pack {digest.partition(':')[2] or '…'} into {self._location.path}"

    def describe_manifest(self, digest: str, *, top: bool) -> str:  # noqa: ARG002
        return f"pack manifest.json into {self._location.path}, named {', '.join(self._tags) or 'nothing'}"


def parse_archive_tag(text: str) -> Reference:
    """A further name for the image: "name:tag"; InvalidArgument without a tag."""
    if ":" not in text.rpartition("/")[2]:
        raise InvalidArgument(f"additional tag {text!r}: expected name:tag")
    return parse_reference(text)
