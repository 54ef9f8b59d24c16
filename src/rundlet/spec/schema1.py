"""Docker's schema 1 manifests: read, and made into today's (distribution, manifest-v2-1.md).

    {"schemaVersion": 1, "name": …, "tag": …, "architecture": …,
     "fsLayers":   [{"blobSum": "sha256:…"}, …],             top layer first
     "history":    [{"v1Compatibility": "<JSON text>"}, …],  one for each layer
     "signatures": [{"header": …, "signature": …, "protected": base64url(P)}, …]}

P is {"formatLength": n, "formatTail": base64url(tail)}: the signed payload, whose digest is
the manifest's, is the first n bytes of the document and the tail.  The signing key stands in
the document itself, so the signatures prove nothing and are not checked; the digest is.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.spec.descriptor import DigestText
from rundlet.spec.document import drop_nulls, parse_document
from rundlet.spec.json import convert, decode, decode_unique, encode

_LAYERS_MAX = 1000
# What belongs to a layer of its own time, not to an image's config.
_LAYER_MEMBERS = frozenset({"id", "parent", "parent_id", "layer_id", "throwaway", "Size"})


class _Protected(Struct, frozen=True, rename="camel"):
    format_length: int
    format_tail: str


class _Signature(Struct, frozen=True):
    protected: str


class _FsLayer(Struct, frozen=True, rename="camel"):
    blob_sum: DigestText


class _HistoryEntry(Struct, frozen=True, rename="camel"):
    v1_compatibility: str


class _Schema1(Struct, frozen=True, rename="camel"):
    schema_version: int
    fs_layers: tuple[_FsLayer, ...]
    history: tuple[_HistoryEntry, ...]
    name: str = ""
    tag: str = ""
    architecture: str = ""
    signatures: tuple[_Signature, ...] = ()


class Schema1(Struct, frozen=True):
    """A parsed manifest, both bottom first.

    `layers` are the blobs' digests without those that hold nothing; `history` is the layers'
    old metadata, the last of them the image's own.
    """

    layers: tuple[str, ...]
    history: tuple[dict[str, Any], ...]
    architecture: str = ""


def parse_schema1(raw: bytes, what: str = "manifest") -> Schema1:
    """Raises InvalidArgument with the place of what is wrong."""
    document = convert(drop_nulls(decode_unique(raw, what)), _Schema1, what)
    if document.schema_version != 1:
        raise InvalidArgument(f"{what}: schemaVersion: expected 1, got {document.schema_version}")
    if not document.fs_layers or len(document.fs_layers) != len(document.history):
        raise InvalidArgument(
            f"{what}: {len(document.fs_layers)} layers but {len(document.history)} history entries"
        )
    if len(document.fs_layers) > _LAYERS_MAX:
        raise InvalidArgument(f"{what}: more than {_LAYERS_MAX} layers")
    history = [
        decode(entry.v1_compatibility, dict[str, Any], f"{what}: history") for entry in document.history
    ]
    layers = [
        layer.blob_sum
        for layer, entry in zip(document.fs_layers, history, strict=True)
        if not entry.get("throwaway")
    ]
    return Schema1(tuple(reversed(layers)), tuple(reversed(history)), document.architecture)


def signed_payload(raw: bytes, what: str = "manifest") -> bytes:
    """What the digest of a signed manifest is computed from; `raw` itself when it is not signed."""
    signatures = parse_document(raw, _Schema1, what).signatures
    if not signatures:
        return raw
    parts = {_decode_protected(signature.protected, what) for signature in signatures}
    if len(parts) != 1:
        raise InvalidArgument(f"{what}: its signatures are of different payloads")
    length, tail = parts.pop()
    if not 0 <= length <= len(raw):
        raise InvalidArgument(f"{what}: signatures: formatLength lies outside of the document")
    return raw[:length] + tail


def _decode_protected(text: str, what: str) -> tuple[int, bytes]:
    protected = parse_document(_decode_base64(text, what), _Protected, f"{what}: signatures")
    return protected.format_length, _decode_base64(protected.format_tail, what)


def _decode_base64(text: str, what: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"{what}: signatures: malformed base64") from error


def convert_config(manifest: Schema1, diff_ids: Sequence[str]) -> bytes:
    """The image config that the history tells, with the layers' `diff_ids`, bottom first."""
    own = {key: value for key, value in manifest.history[-1].items() if key not in _LAYER_MEMBERS}
    config = {
        "architecture": manifest.architecture,
        "os": "linux",
        **own,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [_convert_history(entry) for entry in manifest.history],
    }
    return encode(config)


def _convert_history(entry: dict[str, Any]) -> dict[str, Any]:
    container = entry.get("container_config")
    command = container.get("Cmd") if isinstance(container, dict) else None
    told = {
        "created": entry.get("created"),
        "author": entry.get("author"),
        "created_by": " ".join(map(str, command)) if isinstance(command, list) else None,
        "comment": entry.get("comment"),
        "empty_layer": entry.get("throwaway") or None,
    }
    return {key: value for key, value in told.items() if value}
