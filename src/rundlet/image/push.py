"""Push an image from a layout to a registry: content first, the name last."""

from rundlet.errors import InvalidArgument
from rundlet.image.layout import Layout
from rundlet.registry.client import Credentials, RegistryClient
from rundlet.spec.digest import Digest
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.spec.reference import parse_reference


def push_image(
    layout: Layout,
    name: str,
    client: RegistryClient,
    reference: str,
    *,
    credentials: Credentials | None = None,
) -> Digest:
    """Push the image that `layout` names `name` as `reference`; returns its manifest's digest.

    What the registry has already is not sent.  Raises NotFound, InvalidArgument, and what
    `RegistryClient` raises.
    """
    target = parse_reference(reference)
    descriptor = layout.find(name)
    raw = layout.read(descriptor.parsed_digest())
    manifest = parse_manifest(raw, descriptor.media_type, f"manifest {descriptor.digest}")
    if not isinstance(manifest, Manifest):
        raise InvalidArgument(f"{name} is an index: push its images one by one")
    for blob in dict.fromkeys((manifest.config.digest, *(layer.digest for layer in manifest.layers))):
        digest = Digest(*blob.split(":", 1))
        client.push_blob(target, digest, layout.blob_path(digest), credentials)
    return client.push_manifest(target, raw, descriptor.media_type, credentials)
