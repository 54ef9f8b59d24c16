"""Opens images wherever they are: a Location and who may see it become a Source or a Destination.

A transport's module is imported when it is used, so that looking at a local image does not
wait for what speaks to registries.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from rundlet.errors import InvalidArgument
from rundlet.image.location import Location
from rundlet.image.transport import Destination, Source

if TYPE_CHECKING:
    from rundlet.image.judge import Admit
    from rundlet.image.remote import KnownBlobs, Reach
    from rundlet.registry.access import Registries
    from rundlet.registry.settings import Credentials, RegistrySettings
    from rundlet.store.store import Store

DEFAULT_ROOT = "/var/lib/rundlet"
DEFAULT_RUN_ROOT = "/run/rundlet"


class Access(NamedTuple):
    """How to reach one side of a copy.

    `credentials` None: those of auth.json, or of `auth_file` when that is named.  `certs_dir`
    holds *.crt, *.cert and *.key for the registry; `tls_verify` False allows plain HTTP and
    certificates that do not verify, None leaves that to registries.conf.  `daemon_host` is
    where a Docker daemon listens, `shared_blobs` a directory with the blobs of several layouts.
    """

    credentials: "Credentials | None" = None
    auth_file: str = ""
    certs_dir: str = ""
    tls_verify: bool | None = None
    daemon_host: str = ""
    shared_blobs: str = ""


_ACCESS = Access()


class Host:
    """What the image jobs of one process share: the store, registries, where blobs were seen.

    `image_root` and `additional_roots` as in `Store.open`; `temporary` is the directory for temporary files, None for the system's; `registries_d`
    replaces the directory that says where signatures lie, `policy` the policy.json that says
    which images may be read; `insecure_policy` asks none.  `registry_settings` are how
    registries are spoken to, but for the certificates.
    """

    def __init__(
        self,
        root: str = DEFAULT_ROOT,
        run_root: str = DEFAULT_RUN_ROOT,
        *,
        image_root: str = "",
        additional_roots: Sequence[str] = (),
        temporary: str | None = None,
        registries_d: str = "",
        policy: str = "",
        insecure_policy: bool = False,
        registry_settings: "RegistrySettings | None" = None,
    ) -> None:
        self.temporary = temporary
        self._root, self.run_root = root, run_root
        self._image_root, self._additional_roots = image_root, tuple(additional_roots)
        self._registries_d = registries_d
        self._policy, self._insecure_policy = policy, insecure_policy
        self._registry_settings = registry_settings
        self._registries: dict[Access, Registries] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for registries in self._registries.values():
            registries.close()
        if "store" in self.__dict__:
            self.store.close()

    @cached_property
    def store(self) -> "Store":
        """rundlet's own store, opened on first use."""
        from rundlet.store.store import Store

        return Store.open(
            self._root, self.run_root, image_root=self._image_root, additional_roots=self._additional_roots
        )

    @cached_property
    def known_blobs(self) -> "KnownBlobs":
        from rundlet.image.remote import KnownBlobs

        return KnownBlobs()

    def registries(self, access: Access = _ACCESS) -> "Registries":
        """Registries as `access` sees them; connections are shared by all jobs of this host."""
        access = access._replace(credentials=None, daemon_host="", shared_blobs="")
        if access not in self._registries:
            self._registries[access] = self._make_registries(access)
        return self._registries[access]

    def reach(self, access: Access = _ACCESS) -> "Reach":
        """Registries as a transport needs them: who asks, where blobs were seen, where signatures lie."""
        from rundlet.image.remote import Reach
        from rundlet.trust.storage import SignatureStorage

        registries = self.registries(access)
        signatures = SignatureStorage(registries, self._registries_d)
        return Reach(registries, access.credentials, self.known_blobs, signatures)

    def judge(self, location: Location, source: Source) -> "Admit | None":
        """Who says whether the image may be read; None where nobody is asked."""
        if self._insecure_policy:
            return None
        from rundlet.image.judge import make_judge
        from rundlet.registry.places import find_places
        from rundlet.trust.policyfile import PolicyFiles

        files = PolicyFiles(self._policy, find_places().policies)
        return make_judge(files, location, source, self._root)

    def _make_registries(self, access: Access) -> "Registries":
        from rundlet.registry.access import Registries
        from rundlet.registry.places import AuthPlace, find_places
        from rundlet.registry.settings import RegistrySettings

        places = find_places()
        if access.auth_file:
            places = places._replace(auth=(AuthPlace(os.path.abspath(access.auth_file)),))
        if access.certs_dir:
            places = places._replace(certs_dirs=(access.certs_dir,))
        settings = (self._registry_settings or RegistrySettings())._replace(certs_dirs=places.certs_dirs)
        if access.tls_verify is False:
            settings = settings._replace(insecure_hosts=("*",))
        return Registries(settings, places)


def open_source(host: Host, location: Location, access: Access = _ACCESS) -> Source:
    """The image at `location`; raises what reading its name raises, most of the rest comes later."""
    kind = location.transport
    if kind == "docker":
        from rundlet.image.remote import RemoteSource

        return RemoteSource(location, host.reach(access))
    if kind == "containers-storage":
        from rundlet.image.storage import StorageSource

        return StorageSource(location, host.store)
    if kind == "docker-daemon":
        from rundlet.image.daemon import open_daemon_image

        return open_daemon_image(location, access.daemon_host, host.temporary)
    return _open_file_source(host, location, access)


def _open_file_source(host: Host, location: Location, access: Access) -> Source:
    if location.transport == "oci":
        from rundlet.image.oci import LayoutSource

        return LayoutSource(location, access.shared_blobs)
    if location.transport == "oci-archive":
        from rundlet.image.ociarchive import ArchiveSource

        return ArchiveSource(location, host.temporary)
    if location.transport == "dir":
        from rundlet.image.directory import DirectorySource

        return DirectorySource(location)
    if location.transport == "docker-archive":
        from rundlet.image.dockerarchive import open_docker_archive

        return open_docker_archive(location, host.temporary)
    from rundlet.image.tarball import TarballSource

    return TarballSource(location)


def open_destination(
    host: Host,
    location: Location,
    access: Access = _ACCESS,
    *,
    tags: Sequence[str] = (),
    accept_plain: bool = False,
) -> Destination:
    """Where an image is to go.

    `tags` are further names that it gets there (registries and docker-archive), `accept_plain`
    keeps uncompressed layers of a layout as they are.  Raises what making it raises.
    """
    kind = location.transport
    if tags and kind not in ("docker", "docker-archive"):
        raise InvalidArgument(f"{location}: only registries and docker archives take additional tags")
    if kind == "docker":
        from rundlet.image.remote import RemoteDestination

        return RemoteDestination(location, host.reach(access), tags)
    if kind == "containers-storage":
        from rundlet.image.storage import StorageDestination

        return StorageDestination(location, host.store)
    if kind == "docker-daemon":
        from rundlet.image.daemon import DaemonDestination

        return DaemonDestination(location, access.daemon_host, host.temporary)
    return _open_file_destination(host, location, access, tags, accept_plain)


def _open_file_destination(
    host: Host, location: Location, access: Access, tags: Sequence[str], accept_plain: bool
) -> Destination:
    if location.transport == "oci":
        from rundlet.image.oci import LayoutDestination

        return LayoutDestination(location, shared=access.shared_blobs, accept_plain=accept_plain)
    if location.transport == "oci-archive":
        from rundlet.image.ociarchive import ArchiveDestination

        return ArchiveDestination(location, accept_plain=accept_plain, temporary=host.temporary)
    if location.transport == "dir":
        from rundlet.image.directory import DirectoryDestination

        return DirectoryDestination(location)
    if location.transport == "docker-archive":
        from rundlet.image.dockerarchive import DockerArchiveDestination, parse_archive_tag

        names = [parse_archive_tag(tag) for tag in tags]
        return DockerArchiveDestination(location, names, host.temporary)
    raise InvalidArgument(f"{location}: {location.transport} is only read, not written")
