"""What an image is called when a policy is asked about it: its scopes, most specific first.

docker              quay.io/team/app:v1, quay.io/team/app, quay.io/team, quay.io, *.io
dir, oci, …         /srv/images/app, /srv/images, /srv
containers-storage  [overlay@ROOT]NAME:TAG@ID, … [overlay@ROOT], [ROOT]
the others          none: only the transport's "" and the default apply
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from rundlet.spec.policy import Policy, Requirements
from rundlet.spec.reference import Reference


class ImageIdentity(NamedTuple):
    """`reference` is what signatures are compared with; None where the place of the image has no such name."""

    transport: str
    scopes: tuple[str, ...] = ()
    reference: Reference | None = None

    def __str__(self) -> str:
        return f"{self.transport}:{self.scopes[0] if self.scopes else ''}"


class Applied(NamedTuple):
    """The requirements that count for an image, and where in the policy they stand."""

    where: str
    requirements: Requirements


def docker_identity(reference: Reference, transport: str = "docker") -> ImageIdentity:
    """An image in a registry, or with `transport` "docker-daemon" one that a daemon knows by name.

    A reference with a tag and a digest counts as one by digest.
    """
    exact = reference.with_digest(reference.digest) if reference.digest else reference
    return ImageIdentity(transport, (*exact.scopes(), *_wildcards(exact.domain)), exact)


def path_identity(transport: str, path: str) -> ImageIdentity:
    """An image at a path, its symbolic links resolved."""
    real = os.path.realpath(path)
    return ImageIdentity(transport, tuple(_parents(real)))


def store_identity(root: str, reference: Reference | None, image_id: str = "") -> ImageIdentity:
    """An image in rundlet's store at `root`; `image_id` is in hex digits, perhaps without its algorithm."""
    prefix = f"[overlay@{root}]"
    names: list[str] = []
    identifier = image_id.partition(":")[2] or image_id
    if reference:
        scopes = reference.scopes()
        names += [f"{scopes[0]}@{identifier}"] if identifier else []
        names += scopes
    elif identifier:
        names.append(f"@{identifier}")
    stores = (prefix, f"[{root}]")
    return ImageIdentity("containers-storage", (*(f"{prefix}{name}" for name in names), *stores), reference)


def plain_identity(transport: str) -> ImageIdentity:
    """An image of a transport that has no scopes: docker-archive, tarball."""
    return ImageIdentity(transport)


def find_requirements(policy: Policy, identity: ImageIdentity) -> Applied:
    """The requirements of the most specific scope that the policy has for the image."""
    scopes = policy.transports.get(identity.transport, {})
    for scope in (*identity.scopes, ""):
        if scope in scopes:
            return Applied(f"transports.{identity.transport}[{scope!r}]", scopes[scope])
    return Applied("default", policy.default)


def _wildcards(domain: str) -> Iterator[str]:
    """ "*.b.example" and "*.example" for "a.b.example:5000"."""
    host = domain.rpartition(":")[0] or domain
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"


def _parents(path: str) -> Iterator[str]:
    while path not in ("/", ""):
        yield path
        path = os.path.dirname(path)
