"""Images from Python, as `rundlet image` uses them:

    with Host() as host:
        copy_image(host, "docker://quay.io/a/b:1", "oci:/srv/b:1", CopyOptions(instances="all"))
        inspect_image(host, "containers-storage:redis").labels
        list_tags(host, "docker://quay.io/a/b")

Names are "transport:details" (`image.location`).  Every function raises the errors of
`rundlet.errors` only.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from rundlet.errors import FailedPrecondition, InvalidArgument, Unimplemented
from rundlet.image.copy import CopyResult, Signer, run_copy
from rundlet.image.inspection import Inspection, inspect_source
from rundlet.image.location import Location, parse_location
from rundlet.image.name import locate_image
from rundlet.image.place import Access, Host, open_destination, open_source
from rundlet.image.plan import CopyOptions, describe_plan
from rundlet.image.planner import plan_copy
from rundlet.image.progress import CopyProgress, CopyWatcher
from rundlet.image.retry import retrying
from rundlet.image.transport import ManifestRefused
from rundlet.spec.descriptor import Platform, host_platform
from rundlet.spec.digest import Digest

__all__ = [
    "Access",
    "CopyOptions",
    "CopyProgress",
    "CopyResult",
    "Host",
    "Inspection",
    "copy_image",
    "delete_image",
    "describe_copy",
    "inspect_image",
    "list_tags",
    "locate_image",
]

_ACCESS = Access()
_OPTIONS = CopyOptions()


def copy_image(
    host: Host,
    source: str | Location,
    destination: str | Location,
    options: CopyOptions = _OPTIONS,
    *,
    source_access: Access = _ACCESS,
    destination_access: Access = _ACCESS,
    tags: Sequence[str] = (),
    accept_plain: bool = False,
    retry_times: int = 0,
    retry_delay_s: float = 0.0,
    watch: CopyWatcher | None = None,
    sign: Signer | None = None,
) -> CopyResult:
    """Copy one image, or all of an index; what is at the destination already is not moved.

    A copy that breaks is tried `retry_times` more, after `retry_delay_s` or ever longer
    pauses; each attempt goes on with what the last one brought.  `sign` makes signatures for
    what has been copied.
    """

    origin, target = _locate(source), _locate(destination)

    def attempt(options: CopyOptions) -> CopyResult:
        with ExitStack() as held:
            reader = open_source(host, origin, source_access)
            held.callback(reader.close)
            writer = open_destination(host, target, destination_access, tags=tags, accept_plain=accept_plain)
            held.callback(writer.close)
            plan = plan_copy(reader, writer, options, host.judge(origin, reader))
            return run_copy(plan, reader, writer, options, watch=watch or _ignore, sign=sign)

    return retrying(lambda: _in_any_format(attempt, options), retry_times, retry_delay_s)


def _in_any_format(attempt: Callable[[CopyOptions], CopyResult], options: CopyOptions) -> CopyResult:
    """A copy; once more with the other kind of manifest when a registry refuses the image's own.

    Unless somebody chose the format, or the digests must stay: then the refusal is raised.
    """
    try:
        return attempt(options)
    except ManifestRefused as refused:
        if options.format or options.recipients:
            raise
        try:
            return attempt(options._replace(format=refused.instead))
        except ManifestRefused:
            raise refused from refused.__cause__
        except (FailedPrecondition, InvalidArgument) as error:
            raise InvalidArgument(refused.message, hint=f"no other type will do: {error.message}") from error


def describe_copy(
    host: Host,
    source: str | Location,
    destination: str | Location,
    options: CopyOptions = _OPTIONS,
    *,
    source_access: Access = _ACCESS,
    destination_access: Access = _ACCESS,
) -> list[str]:
    """What `copy_image` would do, a line for each blob and manifest; nothing is written."""
    with ExitStack() as held:
        origin = _locate(source)
        reader = open_source(host, origin, source_access)
        held.callback(reader.close)
        writer = open_destination(host, _locate(destination), destination_access)
        held.callback(writer.close)
        plan = plan_copy(reader, writer, options, host.judge(origin, reader))
        return describe_plan(plan, reader, writer)


def inspect_image(
    host: Host,
    image: str | Location,
    *,
    access: Access = _ACCESS,
    platform: Platform | None = None,
    with_tags: bool = True,
) -> Inspection:
    """What an image says of itself; of an index, the image for `platform` (this host's)."""
    source = open_source(host, _locate(image), access)
    try:
        return inspect_source(source, platform or host_platform(), with_tags=with_tags)
    finally:
        source.close()


def list_tags(host: Host, image: str | Location, *, access: Access = _ACCESS) -> list[str]:
    """All tags of a registry's repository, or the names of an archive's or layout's images."""
    location = _locate(image)
    if location.transport == "docker-archive":
        from rundlet.image.dockerarchive import list_archive_tags

        return list_archive_tags(location)
    if location.transport == "docker" and location.reference and location.reference.digest:
        raise InvalidArgument(f"{location}: a repository has neither tag nor digest")
    source = open_source(host, location, access)
    try:
        return source.list_tags()
    finally:
        source.close()


def delete_image(host: Host, image: str | Location, *, access: Access = _ACCESS) -> Digest | None:
    """Remove an image: from a registry the manifest that the name means now (its digest is returned),
    from the store the name.  Unimplemented for the other transports.
    """
    location = _locate(image)
    if location.transport == "docker" and location.reference:
        from rundlet.registry import repository

        remote = host.registries(access).home(location.reference, access.credentials)
        digest = remote.client.resolve(remote.reference, remote.credentials).digest
        repository.delete_manifest(remote, str(digest))
        return digest
    if location.transport == "containers-storage":
        from rundlet.image.storage import remove_image

        remove_image(host.store, location.name)
        return None
    raise Unimplemented(f"{location}: images of this transport are deleted with their files")


def _locate(image: str | Location) -> Location:
    return parse_location(image) if isinstance(image, str) else image


def _ignore(_progress: CopyProgress) -> None: ...
