"""Content descriptors and platforms (image-spec, descriptor.md and image-index.md)."""

import os
from typing import Annotated

from msgspec import Meta, Struct, field

from rundlet.errors import InvalidArgument
from rundlet.spec.digest import DIGEST_PATTERN, Digest, parse_digest

DigestText = Annotated[str, Meta(pattern=DIGEST_PATTERN)]
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Platform(
    Struct, frozen=True, rename={"os_version": "os.version", "os_features": "os.features"}, omit_defaults=True
):
    """What an image runs on, in Go's names: linux/amd64, linux/arm64/v8."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A typed, sized and digested pointer to content; `size` in bytes.

    `digest` is only known to have a digest's form: `parsed_digest` says whether
    it is one that we can check.
    """

    media_type: str
    digest: DigestText
    size: Size
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    data: str = ""
    artifact_type: str = ""
    platform: Platform | None = None

    def parsed_digest(self) -> Digest:
        """The digest as a value; InvalidArgument when its algorithm is unknown to us."""
        return parse_digest(self.digest)


# uname(2)'s machine names on the left, Go's GOARCH and its usual variant on the right.
_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}


def host_platform(machine: str = os.uname().machine) -> Platform:
    """The Linux platform of a machine that uname(2) calls `machine`."""
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """ "linux/arm64/v8", "linux/amd64" or "amd64" as a Platform; InvalidArgument when malformed."""
    parts = text.split("/")
    if not all(parts) or len(parts) > 3:
        raise InvalidArgument(f"platform {text!r}: expected os/architecture[/variant]")
    if len(parts) == 1:
        parts = ["linux", *parts]
    architecture, variant = _MACHINES.get(parts[1], (parts[1], ""))
    return Platform(os=parts[0], architecture=architecture, variant=parts[2] if len(parts) == 3 else variant)
