"""What a copy reads before it decides: manifests, and what hangs on them.

name ─▶ document ─▶ index?  its images (one for a platform, several, all)
             ├▶ signatures
             └▶ referrers, and theirs
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.image import documents
from rundlet.image.choice import DEPTH_MAX, choose_image, parse_any, read_entry
from rundlet.image.plan import CopyOptions, Signed
from rundlet.image.transport import Destination, Document, Source
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, Platform
from rundlet.spec.image import ImageConfig, parse_image_config
from rundlet.spec.manifest import Index, Manifest, runs_on, select_platform

if TYPE_CHECKING:
    from rundlet.spec.schema1 import Schema1

_CONFIG_BYTES_MAX: Final = 8 << 20
_ENTRIES_MAX: Final = 1000


class Node(NamedTuple):
    """A document that was read, and the images of it that are copied."""

    document: Document
    parsed: "Manifest | Index | Schema1"
    children: "tuple[Node, ...]" = ()

    def walk(self) -> "Iterator[Node]":
        yield self
        for child in self.children:
            yield from child.walk()


def read_tree(source: Source, options: CopyOptions) -> Node:
    """The document that will be the top one (an index, or one image of it) and what hangs on it."""
    document = source.read_manifest()
    alone = len(options.platforms) == 1
    if alone or not (options.platforms or options.instances != "system"):
        document = choose_image(source, document, options.platforms[0] if alone else options.platform)
    return _read_node(source, document, options, 0)


def _read_node(source: Source, document: Document, options: CopyOptions, depth: int) -> Node:
    parsed = parse_any(document, source.name)
    media_type = documents.find_media_type(document.raw, document.media_type)
    document = document._replace(media_type=media_type)
    if not isinstance(parsed, Index):
        return Node(document, parsed)
    if depth == DEPTH_MAX:
        raise InvalidArgument(f"{source.name}: indexes are nested more than {DEPTH_MAX} deep")
    children = [
        _read_node(source, read_entry(source, entry), options, depth + 1)
        for entry in _choose_entries(parsed, options, f"{source.name} ({document.digest})")
    ]
    return Node(document, parsed, tuple(children))


def _choose_entries(index: Index, options: CopyOptions, what: str) -> list[Descriptor]:
    if len(index.manifests) > _ENTRIES_MAX:
        raise InvalidArgument(f"{what}: an index of more than {_ENTRIES_MAX} images")
    if options.platforms:
        chosen = [select_platform(index, platform, what) for platform in options.platforms]
    else:
        chosen = list(index.manifests) if options.instances == "all" else []
    return list({entry.digest: entry for entry in chosen}.values())


def read_signatures(source: Source, top: Node) -> Iterator[Signed]:
    for node in top.walk():
        found = source.read_signatures(node.document.digest)
        if found:
            yield Signed(node.document.digest, found)


def read_referrers(source: Source, destination: Destination, top: Node) -> Iterator[Node]:
    """What refers to the images, and what refers to that."""
    subjects = [node.document.digest for node in top.walk()]
    seen = set(subjects)
    for _ in range(DEPTH_MAX):
        entries = [entry for subject in subjects for entry in source.list_referrers(subject)]
        subjects = []
        for entry in entries:
            if entry.parsed_digest() in seen:
                continue
            document = read_entry(source, entry)
            parsed = parse_any(document, source.name)
            seen.add(document.digest)
            subjects.append(document.digest)
            if isinstance(parsed, Manifest):
                yield Node(document, parsed)
    if len(seen) > len(list(top.walk())) and not destination.traits.referrers:
        raise FailedPrecondition(f"{destination.name}: it has no place for referrers")


def check_platform(source: Source, top: Node, options: CopyOptions) -> None:
    """An image that was asked for by its platform must be for that one, also where no index says so.

    Raises NotFound, naming the platform that it is for.
    """
    if not options.platforms or isinstance(top.parsed, Index):
        return
    found = _find_platform(source, top)
    for platform in options.platforms:
        if not runs_on(found, platform):
            hint = f"it is one image, for {found}" if str(found) else "it does not say what it is for"
            raise NotFound(f"{source.name}: no image for platform {platform}", hint=hint)


def _find_platform(source: Source, node: Node) -> Platform:
    """What an image's config says that it runs on."""
    if not isinstance(node.parsed, Manifest):
        return Platform("linux", getattr(node.parsed, "architecture", ""))
    if node.parsed.config.media_type not in mediatype.CONFIGS:
        return Platform()
    config = read_config(source, node.parsed)
    return Platform(config.os, config.architecture, config.variant)


def check_config_size(source: Source, manifest: Manifest) -> None:
    """InvalidArgument for a config that is longer than any should be."""
    if manifest.config.size > _CONFIG_BYTES_MAX:
        raise InvalidArgument(f"{source.name}: a config of {manifest.config.size} bytes")


def read_config(source: Source, manifest: Manifest) -> ImageConfig:
    check_config_size(source, manifest)
    with source.open_blob(manifest.config) as chunks:
        raw = b"".join(_limit(chunks, f"{source.name}: config"))
    return parse_image_config(raw, f"{source.name}: config")


def _limit(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    left = _CONFIG_BYTES_MAX
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise InvalidArgument(f"{what}: longer than {_CONFIG_BYTES_MAX} bytes")
        yield chunk
