"""From a name's document to one image: through an index, by platform."""

from typing import TYPE_CHECKING, Final

from rundlet.errors import InvalidArgument
from rundlet.image import documents
from rundlet.image.transport import Document, Source
from rundlet.spec.descriptor import Descriptor, Platform
from rundlet.spec.manifest import Index, Manifest, select_platform

if TYPE_CHECKING:
    from rundlet.spec.schema1 import Schema1

DEPTH_MAX: Final = 3


def choose_image(source: Source, document: Document, platform: Platform) -> Document:
    """`document` itself, or the image for `platform` when it is an index."""
    for _ in range(DEPTH_MAX):
        parsed = parse_any(document, source.name)
        if not isinstance(parsed, Index):
            return document
        document = read_entry(source, select_platform(parsed, platform, source.name))
    raise InvalidArgument(f"{source.name}: indexes are nested more than {DEPTH_MAX} deep")


def parse_any(document: Document, what: str) -> "Manifest | Index | Schema1":
    """A manifest of any kind."""
    if documents.is_schema_1(document):
        from rundlet.spec.schema1 import parse_schema1

        return parse_schema1(document.raw, what)
    return documents.parse(document, what)


def read_entry(source: Source, entry: Descriptor) -> Document:
    """A document that an index names; the index's word is its type when it says none itself."""
    document = source.read_manifest(entry.parsed_digest())
    return document._replace(media_type=document.media_type or entry.media_type)
