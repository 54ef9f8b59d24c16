"""What an image says of itself, gathered from its manifest and config."""

from typing import Any, Final, NamedTuple

from rundlet.errors import Error, InvalidArgument
from rundlet.image import documents
from rundlet.image.choice import choose_image
from rundlet.image.transport import Document, Source
from rundlet.spec import json, mediatype
from rundlet.spec.descriptor import Descriptor, Platform
from rundlet.spec.digest import Digest
from rundlet.spec.image import ImageConfig, parse_image_config
from rundlet.spec.manifest import Manifest

_CONFIG_BYTES_MAX: Final = 8 << 20
_ZERO_TIME: Final = "0001-01-01T00:00:00Z"


class Inspection(NamedTuple):
    """`top` is what the name means, `image` the image that was looked at; they differ for an index.

    `name` is the repository ("docker.io/library/redis"), "" where images have none; `tags`
    are all of the repository.  `raw_config` is b"" for artifacts.
    """

    name: str
    top: Document
    image: Document
    layers: tuple[Descriptor, ...]
    raw_config: bytes
    config: ImageConfig | None
    tags: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        return self.top.digest

    @property
    def labels(self) -> dict[str, str]:
        return self.config.config.labels if self.config else {}


def inspect_source(source: Source, platform: Platform, *, with_tags: bool = True) -> Inspection:
    """Raises what the source raises; NotFound when an index has nothing for `platform`."""
    top = source.read_manifest()
    image = choose_image(source, top, platform)
    reference = getattr(source, "reference", None)
    name = reference.name if reference else ""
    tags = tuple(_list_tags(source)) if with_tags and name else ()
    if documents.is_schema_1(image):
        return _inspect_schema1(image, top, name, tags, source.name)
    manifest = documents.parse(image, source.name)
    if not isinstance(manifest, Manifest):
        raise InvalidArgument(f"{source.name}: an index where an image was expected")
    raw = read_document_blob(source, manifest.config)
    config = parse_image_config(raw, f"{source.name}: config") if _is_image(manifest) else None
    return Inspection(name, top, image, manifest.layers, raw, config, tags)


def _is_image(manifest: Manifest) -> bool:
    return manifest.config.media_type in mediatype.CONFIGS


def _list_tags(source: Source) -> list[str]:
    """A registry may forbid to list tags and yet let the image be seen."""
    try:
        return source.list_tags()
    except Error:
        return []


def read_document_blob(source: Source, blob: Descriptor) -> bytes:
    """A small blob as a whole; InvalidArgument when it is longer than a config may be."""
    if blob.size > _CONFIG_BYTES_MAX:
        raise InvalidArgument(f"{source.name}: blob {blob.digest} has {blob.size} bytes")
    with source.open_blob(blob) as chunks:
        return b"".join(chunks)


def _inspect_schema1(
    image: Document, top: Document, name: str, tags: tuple[str, ...], what: str
) -> Inspection:
    from rundlet.spec.mediatype import DOCKER_LAYER_GZIP
    from rundlet.spec.schema1 import convert_config, parse_schema1

    manifest = parse_schema1(image.raw, what)
    layers = tuple(Descriptor(DOCKER_LAYER_GZIP, digest, 0) for digest in manifest.layers)
    raw = convert_config(manifest, ())
    return Inspection(name, top, image, layers, raw, parse_image_config(raw, what), tags)


def format_inspection(found: Inspection) -> dict[str, Any]:
    """The members of `skopeo inspect`, in its order; Created and the like are "" or null when unknown."""
    config = found.config
    said: dict[str, Any] = {
        "Name": found.name,
        "Digest": str(found.digest),
        "RepoTags": list(found.tags),
        "Created": (config.created if config else "") or _ZERO_TIME,
        "DockerVersion": _find_text(found.raw_config, "docker_version"),
        "Labels": (config.config.labels or None) if config else None,
        "Architecture": config.architecture if config else "",
        "Os": config.os if config else "",
        "Layers": [layer.digest for layer in found.layers],
        "LayersData": [
            {
                "MIMEType": layer.media_type,
                "Digest": layer.digest,
                "Size": layer.size,
                "Annotations": layer.annotations or None,
            }
            for layer in found.layers
        ],
        "Env": (list(config.config.env) or None) if config else None,
    }
    return said


def _find_text(raw: bytes, key: str) -> str:
    value = json.decode(raw, dict[str, Any], "config").get(key, "") if raw.startswith(b"{") else ""
    return value if isinstance(value, str) else ""
