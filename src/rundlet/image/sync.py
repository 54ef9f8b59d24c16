"""Many images from one place to another: what is to be copied, then one copy after the other.

source      docker   a repository: all tags, or the one that is named
            dir      every image directory below a directory
            yaml     what a file says (`syncfile`)
destination docker   HOST/PATH/<image>         dir   PATH/<image>
<image>     the last part of the name and its tag; with `scoped` the whole name
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from rundlet.errors import Error, InvalidArgument, NotFound
from rundlet.image.location import Location, parse_docker_name
from rundlet.image.place import Access, Host
from rundlet.image.remote import RemoteSource
from rundlet.image.semver import parse_version
from rundlet.image.syncfile import SyncRegistry, Wanted, read_sync_file
from rundlet.registry.settings import Credentials
from rundlet.spec.descriptor import Platform
from rundlet.spec.digest import parse_digest
from rundlet.spec.reference import Reference

Kind = Literal["docker", "dir", "yaml"]
_ACCESS = Access()
_DEPTH_MAX: Final = 16


class SyncItem(NamedTuple):
    """One image to be copied; `image` is what the destination calls it."""

    source: Location
    image: str
    access: Access = _ACCESS
    platforms: tuple[Platform, ...] = ()


class Failure(NamedTuple):
    item: str
    error: Error


def list_items(
    host: Host,
    kind: Kind,
    source: str,
    *,
    access: Access = _ACCESS,
    scoped: bool = False,
    suffix: str = "",
    failed: Callable[[Failure], None] | None = None,
) -> Iterator[SyncItem]:
    """The images of `source`; `suffix` is put behind their tags.

    Raises what reading raises; with `failed`, a repository that cannot be listed is told to
    it and passed over.
    """
    if kind == "dir":
        yield from _list_directory(source, scoped=scoped)
        return
    repositories = _read_yaml(source, access) if kind == "yaml" else [_read_name(source, access)]
    for repository in repositories:
        try:
            yield from _list_repository(host, repository, scoped=scoped, suffix=suffix)
        except Error as error:
            if failed is None:
                raise
            failed(Failure(str(repository.location), error))


class _Repository(NamedTuple):
    location: Location
    wanted: Wanted
    access: Access


def _read_name(source: str, access: Access) -> _Repository:
    location = parse_docker_name(source, default_tag=False)
    reference = _reference_of(location)
    tags = tuple(filter(None, (reference.tag, str(reference.digest) if reference.digest else "")))
    return _Repository(location, Wanted(reference.path, tags), access)


def _read_yaml(path: str, access: Access) -> Iterator[_Repository]:
    for registry in read_sync_file(path):
        own = _make_access(registry, access)
        for wanted in registry.wanted:
            location = parse_docker_name(f"{registry.host}/{wanted.repository}", default_tag=False)
            yield _Repository(location, wanted, own)


def _make_access(registry: SyncRegistry, access: Access) -> Access:
    login = registry.credentials
    if login.username:
        access = access._replace(credentials=Credentials(login.username, login.password))
    if registry.tls_verify is not None:
        access = access._replace(tls_verify=registry.tls_verify)
    return access._replace(certs_dir=registry.cert_dir or access.certs_dir)


def _list_repository(host: Host, repository: _Repository, *, scoped: bool, suffix: str) -> Iterator[SyncItem]:
    reference = _reference_of(repository.location)
    wanted = repository.wanted
    for tag in wanted.tags or _choose_tags(_list_tags(host, repository), wanted):
        exact = _name_image(reference, tag)
        name = exact.name if scoped else exact.path.rpartition("/")[2]
        told = f"@{exact.digest}" if exact.digest else f":{exact.tag}{suffix}"
        source = Location("docker", reference=exact)
        yield SyncItem(source, f"{name}{told}", repository.access, wanted.platforms)


def _list_tags(host: Host, repository: _Repository) -> list[str]:
    return RemoteSource(repository.location, host.reach(repository.access)).list_tags()


def _choose_tags(tags: Iterable[str], wanted: Wanted) -> list[str]:
    """The tags that are wanted; NotFound when none is."""
    chosen = [tag for tag in tags if _is_wanted(tag, wanted)]
    if not chosen:
        raise NotFound(f"repository {wanted.repository}: no tag is wanted")
    return chosen


def _is_wanted(tag: str, wanted: Wanted) -> bool:
    if wanted.pattern is not None:
        return wanted.pattern.search(tag) is not None
    if wanted.versions is not None:
        version = parse_version(tag)
        return version is not None and wanted.versions.fits(version)
    return True


def _name_image(reference: Reference, tag: str) -> Reference:
    if ":" in tag:
        return reference.with_digest(parse_digest(tag))
    return reference.with_tag(tag)


def _reference_of(location: Location) -> Reference:
    if location.reference is None:
        raise InvalidArgument(f"{location}: no name of a repository")
    return location.reference


def _list_directory(path: str, *, scoped: bool) -> Iterator[SyncItem]:
    found = False
    for directory, names, files in os.walk(path):
        names.sort()
        if directory.count("/") - path.count("/") > _DEPTH_MAX:
            raise InvalidArgument(f"{path}: directories are nested more than {_DEPTH_MAX} deep")
        if "version" in files and "manifest.json" in files:
            names.clear()
            found = True
            inside = os.path.relpath(directory, path)
            whole = os.path.basename(directory.rstrip("/")) if inside == "." else inside
            yield SyncItem(Location("dir", directory), whole if scoped else os.path.basename(whole))
    if not found:
        raise NotFound(f"{path}: there is no image directory")


def locate_copy(kind: Literal["docker", "dir"], destination: str, item: SyncItem) -> Location:
    """Where the image goes."""
    if kind == "dir":
        return Location("dir", os.path.join(destination, item.image))
    return parse_docker_name(f"{destination.rstrip('/')}/{item.image}")
