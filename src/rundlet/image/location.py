"""Where an image is: "transport:details" (containers-transports(5)).

docker://NAME[:TAG|@DIGEST]          a registry; NAME@@unknown-digest@@ writes by digest alone
oci:PATH[:NAME|@INDEX]               an OCI layout; NAME is anything, INDEX counts from 0
oci-archive:PATH[:NAME|@INDEX]       the same as a tar; PATH "-" is stdin or stdout
dir:PATH                             one image, its files beside each other
docker-archive:PATH[:NAME:TAG|@INDEX]    what `docker save` writes; PATH may be "-"
docker-daemon:NAME:TAG | ALGO:HEX    a Docker daemon, by its socket
containers-storage:NAME | ID         rundlet's own store
tarball:PATH[:PATH…]                 root file systems as layers, read only
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.spec.digest import Digest, parse_digest
from rundlet.spec.reference import Reference, parse_reference

TRANSPORTS = (
    "containers-storage",
    "dir",
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "tarball",
)
STREAMS = frozenset({"-", "/dev/stdin", "/dev/stdout"})
_UNKNOWN_DIGEST = "@@unknown-digest@@"
# containers/image's grammar of a name inside a layout.
_LAYOUT_NAME = re.compile(
    r"[A-Za-z0-9]+(?:[-._:@+]|--)?(?:[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)?"
    r"(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*"
)
_INDEX = re.compile(r"[0-9]{1,9}")
_STORAGE_PREFIX = re.compile(r"\[[^\]]*\]")


class Location(NamedTuple):
    """One image in one place.  What a transport does not use is left at its default.

    `path` is a file or directory; `paths` are tarball's; `name` is a layout's image name or a
    name or id in the store; `position` counts images in an archive or layout, -1 for none;
    `reference` is that of a registry, daemon or docker-archive, `digest` the id of a daemon's
    image; `untagged` writes to a registry by digest alone.
    """

    transport: str
    path: str = ""
    name: str = ""
    position: int = -1
    reference: Reference | None = None
    digest: Digest | None = None
    paths: tuple[str, ...] = ()
    untagged: bool = False

    def __str__(self) -> str:
        return f"{self.transport}:{_DETAILS[self.transport](self)}"

    @property
    def streamed(self) -> bool:
        """Whether this is an archive on stdin or stdout."""
        return self.path in STREAMS


def parse_location(text: str) -> Location:
    """`text` as a Location; InvalidArgument says which part is wrong."""
    transport, colon, details = text.partition(":")
    if not colon or transport not in _PARSERS:
        raise InvalidArgument(
            f"image name {text!r}: expected transport:details",
            hint=f"transports are {', '.join(TRANSPORTS)}",
        )
    return _PARSERS[transport](details, text)


def parse_docker_name(text: str, *, default_tag: bool = True) -> Location:
    """ "//host/name:tag" or "host/name:tag"; without a tag it is `latest` unless `default_tag` is False."""
    name, unknown, rest = text.removeprefix("//").partition(_UNKNOWN_DIGEST)
    _require(not rest, text, f"nothing may follow {_UNKNOWN_DIGEST}")
    reference = parse_reference(name)
    _require(not (unknown and (reference.digest or _has_tag(name))), text, "neither tag nor digest here")
    if reference.digest and reference.tag:
        raise InvalidArgument(
            f"image name {text!r}: a tag and a digest exclude each other", hint="leave the tag out"
        )
    if not default_tag and not reference.digest and not _has_tag(name):
        reference = reference._replace(tag="")
    return Location("docker", reference=reference, untagged=bool(unknown))


def _has_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2]


def _parse_docker(details: str, text: str) -> Location:
    _require(details.startswith("//"), text, "docker: is followed by //")
    return parse_docker_name(details)


def _parse_layout(transport: str, details: str, text: str) -> Location:
    path, name, index = _split_path(details)
    _require(path, text, "the path is empty")
    _require(not name or _LAYOUT_NAME.fullmatch(name), text, f"malformed image name {name!r}")
    return Location(transport, path, name=name, position=index)


def _split_path(details: str) -> tuple[str, str, int]:
    """(path, name, index) of "path[:name]" or "path@index"; a colon in a name belongs to the name."""
    head, at, count = details.rpartition("@")
    if at and ":" not in head and _INDEX.fullmatch(count):
        return head, "", int(count)
    path, _, name = details.partition(":")
    return path, name, -1


def _parse_dir(details: str, text: str) -> Location:
    _require(details, text, "the path is empty")
    return Location("dir", details)


def _parse_docker_archive(details: str, text: str) -> Location:
    path, name, index = _split_path(details)
    _require(path, text, "the path is empty")
    if name.startswith("@"):
        _require(_INDEX.fullmatch(name[1:]), text, f"malformed index {name!r}")
        return Location("docker-archive", path, position=int(name[1:]))
    reference = parse_reference(name) if name else None
    _require(not (reference and reference.digest), text, "an archive's images have no digests")
    return Location("docker-archive", path, position=index, reference=reference)


def _parse_docker_daemon(details: str, text: str) -> Location:
    algorithm = details.partition(":")[0]
    if algorithm in ("sha256", "sha512"):
        return Location("docker-daemon", digest=parse_digest(details))
    _require("@" in details or _has_tag(details), text, "a tag or a digest is needed")
    return Location("docker-daemon", reference=parse_reference(details))


def _parse_storage(details: str, text: str) -> Location:
    name = _STORAGE_PREFIX.sub("", details, count=1) if details.startswith("[") else details
    name = name.removeprefix("@")  # "@id" is containers/storage's way to name an id
    _require(name and name[0] not in "[@", text, "expected a name or an id")
    return Location("containers-storage", name=name)


def _parse_tarball(details: str, text: str) -> Location:
    paths = tuple(details.split(":"))
    _require(all(paths), text, "a path is empty")
    return Location("tarball", paths=paths)


_PARSERS: dict[str, Callable[[str, str], Location]] = {
    "docker": _parse_docker,
    "oci": lambda details, text: _parse_layout("oci", details, text),
    "oci-archive": lambda details, text: _parse_layout("oci-archive", details, text),
    "dir": _parse_dir,
    "docker-archive": _parse_docker_archive,
    "docker-daemon": _parse_docker_daemon,
    "containers-storage": _parse_storage,
    "tarball": _parse_tarball,
}


def _write_path(location: Location) -> str:
    if location.reference:
        return f"{location.path}:{location.reference}"
    if location.name:
        return f"{location.path}:{location.name}"
    if location.position < 0:
        return f"{location.path}:" if "@" in location.path else location.path  # "a@1:" is no index
    separator = ":@" if location.transport == "docker-archive" else "@"
    return f"{location.path}{separator}{location.position}"


def _write_docker(location: Location) -> str:
    if location.untagged and location.reference:
        return f"//{location.reference.name}{_UNKNOWN_DIGEST}"
    return f"//{location.reference}"


_DETAILS: dict[str, Callable[[Location], str]] = {
    "docker": _write_docker,
    "oci": _write_path,
    "oci-archive": _write_path,
    "dir": lambda location: location.path,
    "docker-archive": _write_path,
    "docker-daemon": lambda location: str(location.digest or location.reference),
    "containers-storage": lambda location: location.name,
    "tarball": lambda location: ":".join(location.paths),
}


def _require(fine: object, text: str, reason: str) -> None:
    if not fine:
        raise InvalidArgument(f"image name {text!r}: {reason}")
