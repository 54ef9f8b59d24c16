"""An image made from another, or from nothing: layers put on top, configuration changed.

    source ─ manifest, config ─► change (pure) ─► new blobs ─► destination, named last
             old layers ───────────────────────►

Nothing that is made carries a time, a name or an order of its own, so the same change of the
same image gives the same digest wherever it is made.
"""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.image.change import Change, apply_to_config, apply_to_manifest
from rundlet.image.choice import choose_image
from rundlet.image.documents import find_media_type, make_document, parse
from rundlet.image.inspection import read_document_blob
from rundlet.image.packing import PackedLayer
from rundlet.image.transport import Content, Destination, Document, Source
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, Platform, host_platform
from rundlet.spec.digest import Digest
from rundlet.spec.json import decode, encode
from rundlet.spec.manifest import Manifest


class Base(NamedTuple):
    """The image that a change begins with: its documents as they are, and its layers."""

    document: Document
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[Descriptor, ...]


def read_base(source: Source, digest: Digest | None = None) -> Base:
    """The image at `source`, of an index the one for this host; InvalidArgument for an artifact."""
    document = choose_image(source, source.read_manifest(digest), host_platform())
    document = document._replace(media_type=find_media_type(document.raw, document.media_type))
    parsed = parse(document, source.name)
    if not isinstance(parsed, Manifest) or parsed.config.media_type not in mediatype.CONFIGS:
        raise InvalidArgument(f"{source.name} is not an image")
    config = decode(read_document_blob(source, parsed.config), dict[str, Any], f"config of {source.name}")
    manifest = decode(document.raw, dict[str, Any], source.name)
    return Base(document, manifest, config, parsed.layers)


def make_base(platform: Platform, created: str) -> Base:
    """An image with nothing in it."""
    config = {"created": created, "architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        config["variant"] = platform.variant
    manifest = {"schemaVersion": 2, "mediaType": mediatype.OCI_MANIFEST}
    document = Document(b"", mediatype.OCI_MANIFEST, Digest.of(b""))
    return Base(document, manifest, config, ())


def write_image(
    base: Base,
    source: Source | None,
    destination: Destination,
    change: Change,
    layers: Sequence[PackedLayer] = (),
) -> Digest:
    """Put `base` with `change` and `layers` on top to `destination`; returns the manifest's digest.

    `source` is where the layers of `base` are, None when it has none.
    """
    packed = tuple(layers)
    config = encode(apply_to_config(base.config, change, packed))
    descriptor = {
        "mediaType": (base.manifest.get("config") or {}).get("mediaType") or mediatype.OCI_CONFIG,
        "digest": str(Digest.of(config)),
        "size": len(config),
    }
    manifest = apply_to_manifest(base.manifest, base.document.media_type, change, descriptor, packed)
    document = make_document(manifest)
    kept = {layer["digest"] for layer in manifest["layers"]}
    with ExitStack() as stack:
        stack.callback(destination.close)
        destination.begin()
        for layer in base.layers:
            if layer.digest in kept and source is not None and not destination.find_blob(layer):
                destination.put_blob(_copy_of(source, layer))
        for new in packed:
            destination.put_blob(new.content())
        destination.put_blob(_memory(config))
        destination.put_manifest(document, top=True)
        destination.commit()
    return document.digest


def _copy_of(source: Source, layer: Descriptor) -> Content:
    return Content(lambda: source.open_blob(layer), layer.parsed_digest(), layer.size)


def _memory(data: bytes) -> Content:
    return Content(lambda: nullcontext(iter((data,))), Digest.of(data), len(data))
