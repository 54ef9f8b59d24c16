"""Whether what a signature claims to be is what the policy wants it to be.  Pure.

                       claimed   registry.example/app:v1      of the image pulled as
matchExact                       registry.example/app:v1
matchRepoDigestOrExact           registry.example/app:v1      or app@sha256:…
matchRepository                  registry.example/app:other   or app@sha256:…
exactReference, exactRepository  the policy names it, whatever it was pulled as
remapIdentity                    mirror.example/x/app:v1, with the prefix exchanged

A signature that names no image (cosign's bundles) vouches for a digest alone: it does where the image was
asked for by its digest and the policy names no other image.  By a tag it would let in whatever else
the key has ever signed.
"""

from rundlet.spec.policy import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    SignedIdentity,
)
from rundlet.spec.reference import Reference, is_registry_host, parse_reference


def matches(wanted: SignedIdentity, image: Reference | None, claimed: Reference | None) -> bool:
    """`image` is None where the image's place has no name: then only the exact… kinds can hold.

    `claimed` is None where the signer named none.
    """
    if claimed is None:
        pinned = image is not None and image.digest is not None
        return pinned and isinstance(wanted, MatchExact | MatchRepoDigestOrExact | MatchRepository)
    if isinstance(wanted, ExactReference):
        return _is_same(parse_reference(wanted.docker_reference, default_tag=""), claimed)
    if isinstance(wanted, ExactRepository):
        return parse_reference(wanted.docker_repository, default_tag="").name == claimed.name
    if image is None:
        return False
    if isinstance(wanted, MatchRepository):
        return image.name == claimed.name
    if isinstance(wanted, MatchExact):
        return _is_same(image, claimed)
    if isinstance(wanted, RemapIdentity):
        image = remap(wanted, image)
    return image.name == claimed.name if image.digest else _is_same(image, claimed)


def _is_same(one: Reference, other: Reference) -> bool:
    """Two whole repositories are not the same image."""
    return bool(one.tag or one.digest) and one == other


def remap(wanted: RemapIdentity, image: Reference) -> Reference:
    """`image` under the prefix that its signer uses; as it is when it has another one."""
    name, prefix = image.name, wanted.prefix
    if name != prefix and not name.startswith(f"{prefix}/"):
        return image
    rest = name[len(prefix) :]
    if is_registry_host(wanted.signed_prefix) and not rest:  # a registry alone is no image
        return image
    found = parse_reference(f"{wanted.signed_prefix}{rest}", default_tag="")
    return image._replace(domain=found.domain, path=found.path)
