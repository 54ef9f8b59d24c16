"""Media types of images: OCI image-spec 1.1 (media-types.md) and Docker's schema 2.

A layer's type says three things: whose standard it is, how the tar is compressed,
and whether it is encrypted:

    application/vnd.oci.image.layer.v1.tar         [+gzip | +zstd] [+encrypted]
    application/vnd.docker.image.rootfs.diff.tar   [.gzip | .zstd]
"""

from typing import NamedTuple

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
# Deprecated by image-spec 1.1; read as layers that a registry need not hold.
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
ENCRYPTED = "+encrypted"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_MANIFEST_V1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
SCHEMA_1 = (DOCKER_MANIFEST_V1, DOCKER_MANIFEST_V1_SIGNED)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)


class LayerType(NamedTuple):
    """A layer's media type taken apart; `compression` is "", "gzip" or "zstd".

    `base` is the type of the plain tar: `OCI_LAYER`, `DOCKER_LAYER` or one of the foreign ones.
    """

    base: str
    compression: str = ""
    encrypted: bool = False

    def __str__(self) -> str:
        separator = "." if self.base in (DOCKER_LAYER, DOCKER_FOREIGN) else "+"
        compressed = f"{separator}{self.compression}" if self.compression else ""
        return f"{self.base}{compressed}{ENCRYPTED if self.encrypted else ''}"

    @property
    def foreign(self) -> bool:
        """Whether the content may lie elsewhere (`urls`), not in the registry."""
        return self.base in (OCI_FOREIGN, DOCKER_FOREIGN)


_BASES = (OCI_LAYER, OCI_FOREIGN, DOCKER_LAYER, DOCKER_FOREIGN)
_LAYERS = {
    str(layer): layer
    for base in _BASES
    for compression in ("", "gzip", "zstd")
    for layer in (LayerType(base, compression), LayerType(base, compression, encrypted=True))
}


def parse_layer_type(media_type: str) -> LayerType | None:
    """A layer's media type taken apart; None for what is no layer of an image (artifacts' content)."""
    return _LAYERS.get(media_type)


_TWINS = {
    OCI_INDEX: DOCKER_LIST,
    OCI_MANIFEST: DOCKER_MANIFEST,
    OCI_CONFIG: DOCKER_CONFIG,
    OCI_LAYER: DOCKER_LAYER,
    OCI_FOREIGN: DOCKER_FOREIGN,
}
_TO_OCI = {docker: oci for oci, docker in _TWINS.items()}


def to_oci(media_type: str) -> str:
    """The OCI type of the same content; what has none stays."""
    return _TO_OCI.get(media_type, media_type)


def to_docker(media_type: str) -> str:
    """Docker's type of the same content; what has none stays."""
    return _TWINS.get(media_type, media_type)
