"""Image manifests and indexes: OCI image-spec 1.1 and Docker schema 2 (same shape).

    tag ─▶ index ─▶ manifest ─▶ config      (image.py)
                    │        └▶ layers[]    bottom first
                    └ one per platform

Values are for reading; what is hashed, stored and served is always the raw
document that they were parsed from.
"""

from typing import Any

from msgspec import Struct, field

from rundlet.errors import InvalidArgument, NotFound, Unimplemented
from rundlet.spec import json, mediatype
from rundlet.spec.descriptor import Descriptor, Platform
from rundlet.spec.digest import Digest
from rundlet.spec.document import drop_nulls


class _Model(Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class Manifest(_Model, frozen=True):
    """image-spec manifest.md; Docker's schema 2 has the same fields without the last three."""

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)


class Index(_Model, frozen=True):
    """image-spec image-index.md; Docker calls it a manifest list."""

    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)


def parse_manifest(raw: bytes, media_type: str = "", what: str = "manifest") -> Manifest | Index:
    """`raw` as a Manifest or an Index; `media_type` is what the registry called it, "" if unknown.

    The registry's word, the document's own `mediaType` and its members must not
    contradict each other, nor may a key stand twice: else two clients could read one
    digest as two images (CVE-2021-41190).  Raises InvalidArgument, and Unimplemented for schema 1.
    """
    value = json.decode_unique(raw, what)
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what}: expected an object")
    value = drop_nulls(value)
    _check_type(value, media_type, what)
    if _check_members(value, what) == "index":
        return json.convert(value, Index, what)
    return json.convert(value, Manifest, what)


def find_subject(raw: bytes, what: str = "manifest") -> str:
    """The digest of what a manifest refers to (image-spec, `subject`), "" for none."""
    value = drop_nulls(json.decode_unique(raw, what))
    subject = value.get("subject") if isinstance(value, dict) else None
    return json.convert(subject, Descriptor, f"{what}: subject").digest if subject is not None else ""


def describe_referrer(raw: bytes, media_type: str, digest: Digest) -> Descriptor:
    """A manifest as a list of referrers shows it: with its artifact type and annotations (distribution-spec)."""
    parsed = parse_manifest(raw, media_type, f"manifest {digest}")
    artifact_type = parsed.artifact_type
    if not artifact_type and isinstance(parsed, Manifest):
        artifact_type = parsed.config.media_type
    return Descriptor(
        media_type or parsed.media_type,
        str(digest),
        len(raw),
        annotations=parsed.annotations,
        artifact_type=artifact_type,
    )


def _check_type(value: dict[str, Any], media_type: str, what: str) -> None:
    inner = value.get("mediaType", "")
    if not isinstance(inner, str):
        raise InvalidArgument(f"{what}: mediaType: expected str, got {inner!r}")
    named = media_type if media_type in _KINDS else inner
    if named in mediatype.SCHEMA_1 or value.get("schemaVersion") == 1:
        raise Unimplemented(
            f"{what}: Docker schema 1 manifests are not supported",
            hint="push the image again with a current client",
        )
    if value.get("schemaVersion") != 2:
        raise InvalidArgument(f"{what}: schemaVersion: expected 2, got {value.get('schemaVersion')!r}")
    if inner and media_type in _KINDS and inner != media_type:
        raise InvalidArgument(f"{what}: mediaType is {inner!r} but the registry served {media_type!r}")
    expected = _KINDS.get(named)
    if expected and expected != _kind_of(value):
        raise InvalidArgument(f"{what}: {named!r} has the members of an image {_kind_of(value)}")


_KINDS = (
    dict.fromkeys(mediatype.INDEXES, "index")
    | dict.fromkeys(mediatype.MANIFESTS, "manifest")
    | dict.fromkeys(mediatype.SCHEMA_1, "schema 1 manifest")
)


def _kind_of(value: dict[str, Any]) -> str:
    return "index" if "manifests" in value else "manifest"


def _check_members(value: dict[str, Any], what: str) -> str:
    if "manifests" in value and ("layers" in value or "config" in value):
        raise InvalidArgument(f"{what}: has both manifests and layers")
    return _kind_of(value)


def select_platform(index: Index, platform: Platform, what: str = "index") -> Descriptor:
    """The entry of `index` that runs best on `platform`; of equals, the first.

    An entry without a platform is taken when nothing else is there to choose.
    Raises NotFound, naming the platforms that the index has.
    """
    ranked = [(_rank(entry.platform, platform), entry) for entry in index.manifests if entry.platform]
    fitting = [(rank, entry) for rank, entry in ranked if rank is not None]
    if fitting:
        return min(fitting, key=lambda pair: pair[0])[1]
    if len(index.manifests) == 1 and index.manifests[0].platform is None:
        return index.manifests[0]
    known = sorted({str(entry.platform) for entry in index.manifests if entry.platform})
    raise NotFound(
        f"{what}: no image for platform {platform}",
        hint=f"it has {', '.join(known)}" if known else "",
    )


def runs_on(offered: Platform, wanted: Platform) -> bool:
    """Whether what is made for `offered` runs on `wanted`."""
    return _rank(offered, wanted) is not None


# Which variants an architecture can run, best first; "" is the architecture's baseline.
_VARIANTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("arm", "v8"): ("v8", "v7", "v6", "v5", ""),
    ("arm", "v7"): ("v7", "", "v6", "v5"),
    ("arm", ""): ("v7", "", "v6", "v5"),
    ("arm", "v6"): ("v6", "v5", ""),
    ("arm", "v5"): ("v5", ""),
    ("arm64", "v8"): ("v8", ""),
    ("arm64", ""): ("v8", ""),
    ("amd64", ""): ("", "v1"),
    ("amd64", "v1"): ("v1", ""),
    ("amd64", "v2"): ("v2", "v1", ""),
    ("amd64", "v3"): ("v3", "v2", "v1", ""),
    ("amd64", "v4"): ("v4", "v3", "v2", "v1", ""),
}


def _rank(offered: Platform | None, wanted: Platform) -> int | None:
    """0 for the best fit, more for a lesser one, None when it does not run."""
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    known = (wanted.variant, "") if wanted.variant else ("",)
    runnable = _VARIANTS.get((wanted.architecture, wanted.variant), known)
    return runnable.index(offered.variant) if offered.variant in runnable else None
