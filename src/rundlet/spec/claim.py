"""What a signature says: this manifest is that image (containers-signature(5)).

    {"critical": {"type":     "atomic container signature",        or "cosign container image signature"
                  "image":    {"docker-manifest-digest": "sha256:…"},
                  "identity": {"docker-reference": "registry.example/app:v1"}},
     "optional": {"creator": "rundlet 0.1.0", "timestamp": 1483228800}}

Nothing of it may be believed, or even be parsed, before the signature over these bytes holds.
A key more or less under "critical" refuses the claim: it might restrict it.
"""

from typing import Final, Literal, NamedTuple

from msgspec import Struct

from rundlet import __version__
from rundlet.errors import InvalidArgument
from rundlet.spec.digest import Digest, parse_digest
from rundlet.spec.json import convert, decode_unique, encode
from rundlet.spec.reference import Reference, parse_reference

SIMPLE_TYPE: Final = "atomic container signature"
SIGSTORE_TYPE: Final = "cosign container image signature"
ClaimType = Literal["atomic container signature", "cosign container image signature"]
_CREATOR = f"rundlet {__version__}"


class Claim(NamedTuple):
    """`reference` has neither tag nor digest when the whole repository is claimed, None when no name is.

    `timestamp_s` is Unix time, 0 when the signer did not say.
    """

    digest: Digest
    reference: Reference | None
    creator: str = ""
    timestamp_s: int = 0


class _Image(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    docker_manifest_digest: str


class _Identity(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    docker_reference: str


class _Critical(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    image: _Image
    identity: _Identity


class _Optional(Struct, frozen=True):
    creator: str = ""
    timestamp: int | float = 0


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    critical: _Critical
    optional: _Optional | None


def parse_claim(payload: bytes, kind: ClaimType, what: str) -> Claim:
    """A verified payload as a Claim; InvalidArgument when it is anything but one of `kind`."""
    document = convert(decode_unique(payload, what), _Document, what)
    critical, optional = document.critical, document.optional or _Optional()
    if critical.type != kind:
        raise InvalidArgument(f"{what}: critical.type: expected {kind!r}, got {critical.type!r}")
    if optional.timestamp != int(optional.timestamp):
        raise InvalidArgument(f"{what}: optional.timestamp: expected whole seconds")
    return Claim(
        parse_digest(critical.image.docker_manifest_digest),
        parse_reference(critical.identity.docker_reference, default_tag=""),
        optional.creator,
        int(optional.timestamp),
    )


def format_claim(claim: Claim, kind: ClaimType) -> bytes:
    """The bytes to sign; equal claims give equal bytes."""
    optional = {"creator": claim.creator or _CREATOR, "timestamp": claim.timestamp_s}
    critical = {
        "identity": {"docker-reference": str(claim.reference)},
        "image": {"docker-manifest-digest": str(claim.digest)},
        "type": kind,
    }
    return encode({"critical": critical, "optional": optional})
