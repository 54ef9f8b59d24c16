"""Whether the policy lets an image be read: asked before anything of it is copied."""

from collections.abc import Callable

from rundlet.errors import InvalidArgument
from rundlet.image.location import Location
from rundlet.image.transport import Document, Source
from rundlet.spec.reference import parse_reference
from rundlet.trust.check import SignedManifest, check_image
from rundlet.trust.identity import (
    ImageIdentity,
    docker_identity,
    path_identity,
    plain_identity,
    store_identity,
)
from rundlet.trust.policyfile import PolicyFiles, load_policy

# Raises when the image with this manifest may not be read.
Admit = Callable[[Document], object]


def make_judge(files: PolicyFiles, location: Location, source: Source, store_root: str) -> Admit:
    """The judge of the images at `location`; errors as `load_policy`."""
    policy = load_policy(files).policy
    identity = identify(location, store_root)

    def admit(document: Document) -> None:
        signed = SignedManifest(document.raw, document.digest)
        check_image(policy, identity, signed, lambda: source.read_signatures(document.digest))

    return admit


def identify(location: Location, store_root: str) -> ImageIdentity:
    """What the policy calls the image."""
    kind = location.transport
    if kind in ("docker", "docker-daemon") and location.reference:
        return docker_identity(location.reference, kind)
    if kind == "containers-storage":
        return _identify_stored(location.name, store_root)
    if kind in ("dir", "oci", "oci-archive"):
        return path_identity(kind, location.path)
    return plain_identity(kind)


def _identify_stored(name: str, store_root: str) -> ImageIdentity:
    try:
        return store_identity(store_root, parse_reference(name))
    except InvalidArgument:  # an id
        return store_identity(store_root, None, name)
