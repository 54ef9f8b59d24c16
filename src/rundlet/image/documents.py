"""Manifests as raw JSON: what is said in them, and how one becomes another.

Everything here edits the document's own members and leaves the others as they are, since
annotations and members that we do not know belong to the image too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rundlet.errors import InvalidArgument
from rundlet.image.transport import Document
from rundlet.spec import manifest, mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.json import decode_unique, encode
from rundlet.spec.manifest import Index, Manifest, parse_manifest


def is_schema_1(document: Document) -> bool:
    return document.media_type in mediatype.SCHEMA_1


def parse(document: Document, what: str) -> Manifest | Index:
    """As `parse_manifest`, with the document's own type."""
    return parse_manifest(document.raw, document.media_type, what)


def make_document(value: Mapping[str, Any], algorithm: str = "sha256") -> Document:
    """A document of our own making."""
    raw = encode(value)
    return Document(raw, value["mediaType"], Digest.of(raw, algorithm))


def find_media_type(raw: bytes, served: str, what: str = "manifest") -> str:
    """A document's type: what it was served as, else what it says itself, else what its members mean.

    "" when it is no manifest at all.
    """
    if served in (*mediatype.MANIFESTS, *mediatype.INDEXES, *mediatype.SCHEMA_1):
        return served
    value = decode_unique(raw, what)
    if not isinstance(value, dict):
        return ""
    if value.get("schemaVersion") == 1:
        signed = "signatures" in value
        return mediatype.DOCKER_MANIFEST_V1_SIGNED if signed else mediatype.DOCKER_MANIFEST_V1
    inner = value.get("mediaType")
    if isinstance(inner, str) and inner:
        return inner
    return (
        mediatype.OCI_INDEX if "manifests" in value else mediatype.OCI_MANIFEST if "config" in value else ""
    )


def digest_manifest(raw: bytes, what: str) -> Digest:
    """The digest that a registry gives `raw`: signed schema 1 manifests have that of their payload."""
    if find_media_type(raw, "", f"manifest {what}") == mediatype.DOCKER_MANIFEST_V1_SIGNED:
        from rundlet.spec.schema1 import signed_payload

        raw = signed_payload(raw, what)
    return Digest.of(raw)


def find_subject(document: Document) -> str:
    """The digest of what the manifest refers to, "" for none."""
    return manifest.find_subject(document.raw, f"manifest {document.digest}")


def describe_referrer(document: Document) -> Descriptor:
    """As a list of referrers shows it."""
    return manifest.describe_referrer(document.raw, document.media_type, document.digest)


# --- one form into another ---------------------------------------------------


def rewrite_manifest(
    document: Document, media_type: str, config: Descriptor, layers: Sequence[Descriptor]
) -> Document:
    """The manifest with another type, config and layers; the same bytes when nothing differs."""
    value = decode_unique(document.raw, "manifest")
    wanted = {
        **value,
        "mediaType": media_type,
        "config": _edit(value["config"], config),
        "layers": [_edit(old, new) for old, new in zip(value["layers"], layers, strict=True)],
    }
    if media_type == mediatype.DOCKER_MANIFEST:
        wanted = _keep_docker(wanted)
    return _replace(document, value, wanted)


def _replace(document: Document, value: dict[str, Any], wanted: dict[str, Any]) -> Document:
    """The document with `wanted` for its `value`; itself when they say the same."""
    said = {"mediaType": document.media_type, **value}  # OCI's manifests need not say their type
    return document if wanted == said else make_document(wanted, document.digest.algorithm)


def _edit(old: dict[str, Any], new: Descriptor) -> dict[str, Any]:
    """`old` with what the new descriptor says; members that we do not know stay."""
    edited = {**old, "mediaType": new.media_type, "digest": new.digest, "size": new.size}
    if new.annotations != old.get("annotations", {}):
        edited["annotations"] = new.annotations
        if not new.annotations:
            del edited["annotations"]
    if new.digest != old["digest"]:
        edited.pop("data", None)
        edited.pop("urls", None)
    return edited


def _keep_docker(value: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 knows neither annotations nor subjects."""
    kept = {key: value[key] for key in ("schemaVersion", "mediaType", "config", "layers")}
    bare = ("mediaType", "digest", "size", "urls")
    kept["config"] = {key: kept["config"][key] for key in bare if key in kept["config"]}
    kept["layers"] = [{key: layer[key] for key in bare if key in layer} for layer in kept["layers"]]
    return kept


def rewrite_index(
    document: Document, media_type: str, replaced: Mapping[str, Document], *, drop_others: bool
) -> Document:
    """The index with the entries of `replaced` (old digest → new manifest) in place of the old ones.

    `drop_others` leaves out the entries that were not copied.
    """
    value = decode_unique(document.raw, "index")
    entries = [
        _edit_entry(entry, replaced.get(entry["digest"]))
        for entry in value["manifests"]
        if not drop_others or entry["digest"] in replaced
    ]
    wanted = {**value, "mediaType": media_type, "manifests": entries}
    if media_type == mediatype.DOCKER_LIST:
        wanted = _keep_docker_list(wanted)
    return _replace(document, value, wanted)


def _edit_entry(entry: dict[str, Any], new: Document | None) -> dict[str, Any]:
    if new is None:
        return entry
    return {**entry, "mediaType": new.media_type, "digest": str(new.digest), "size": len(new.raw)}


def _keep_docker_list(value: dict[str, Any]) -> dict[str, Any]:
    members = ("mediaType", "digest", "size", "platform")
    entries = [{key: entry[key] for key in members if key in entry} for entry in value["manifests"]]
    if not all("platform" in entry for entry in entries):
        raise InvalidArgument("index: Docker's manifest list needs a platform for every entry")
    return {"schemaVersion": 2, "mediaType": value["mediaType"], "manifests": entries}


def convert_type(media_type: str, wanted: str) -> str:
    """A config's or layer's type in the family of the manifest type `wanted`."""
    family: Callable[[str], str] = mediatype.to_docker if wanted in _DOCKER else mediatype.to_oci
    layer = mediatype.parse_layer_type(media_type)
    return str(layer._replace(base=family(layer.base))) if layer else family(media_type)


_DOCKER = (mediatype.DOCKER_MANIFEST, mediatype.DOCKER_LIST)
