"""Image configuration (image-spec, config.md; Docker's container.image.v1 is the same).

The image id is the digest of the raw document; a chain id names a stack of
layers: ChainID(n) = sha256(ChainID(n-1) + " " + DiffID(n)).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from rundlet.spec.descriptor import DigestText, Platform
from rundlet.spec.document import parse_document


class Healthcheck(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """Docker's HEALTHCHECK, no part of image-spec: `test` is ["NONE"], ["CMD", arg, …] or ["CMD-SHELL", line].

    Times are nanoseconds; 0 is Docker's default, as it is for `retries`.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ExecutionConfig(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """Defaults for a container of the image; all of them may be absent."""

    user: str = ""
    exposed_ports: dict[str, Any] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, Any] = field(default_factory=dict)
    working_dir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None


class RootFs(Struct, frozen=True):
    """`diff_ids` are digests of the uncompressed layers, bottom first."""

    type: str
    diff_ids: tuple[DigestText, ...]


class History(Struct, frozen=True, omit_defaults=True):
    created: str = ""
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(
    Struct, frozen=True, rename={"os_version": "os.version", "os_features": "os.features"}, omit_defaults=True
):
    """`created` is RFC 3339 text, "" when unknown."""

    rootfs: RootFs
    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    created: str = ""
    author: str = ""
    config: ExecutionConfig = ExecutionConfig()
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant)


def parse_image_config(raw: bytes, what: str = "image config") -> ImageConfig:
    """`raw` as an ImageConfig; InvalidArgument with the JSON path of what is wrong."""
    return parse_document(raw, ImageConfig, what)


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chain id of every layer, bottom first (config.md#layer-chainid)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        stack = f"{chain[-1]} {diff_id}" if chain else ""
        chain.append(f"sha256:{hashlib.sha256(stack.encode()).hexdigest()}" if stack else diff_id)
    return tuple(chain)
