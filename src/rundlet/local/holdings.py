"""What a container has beside itself: volumes, networks, secrets.

name      options → options in which every volume has its name, every address is one
gather    what is asked → what the plan needs to know; volumes made and filled, secrets looked up
ready     before each start: volumes mounted, secrets copied
release   after the removal: secrets' copies and anonymous volumes go
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rundlet.engine.options import Mount, PortMapping
from rundlet.errors import InvalidArgument
from rundlet.local.networks import Networks
from rundlet.local.options import RunOptions, VolumeMount
from rundlet.local.plan import LOG_FILE, Facts, joins_other, plan_mount
from rundlet.local.records import LocalRecord
from rundlet.local.secrets import Secrets
from rundlet.local.volumes import Volumes, invent_volume
from rundlet.local.words.environment import merge_environment
from rundlet.store.images import ImageRecord

_HOST_GATEWAY = "host-gateway"


class Holdings:
    """Thread-safe."""

    def __init__(self, networks: Networks, volumes: Volumes, secrets: Secrets) -> None:
        self.networks = networks
        self.volumes = volumes
        self.secrets = secrets

    def name(self, asked: RunOptions, image: ImageRecord, find: Callable[[str], LocalRecord]) -> RunOptions:
        """With the volumes of other containers (`find` knows them) and of the image among the mounts.

        Raises NotFound for a container or a network that is not there.
        """
        others = [mount for text in asked.volumes_from for mount in _borrow(text, find)]
        image_volumes = _plan_image_volumes(asked, image)
        mounts: dict[str, VolumeMount] = {}
        for mount in (*image_volumes, *others, *asked.mounts):
            mounts[mount.target.rstrip("/")] = mount
        if asked.pod or joins_other(asked):
            if asked.ports or asked.network.names:
                raise InvalidArgument(
                    "ports and networks are those of the pod, or of the container, that is joined",
                    hint="give them when that one is made",
                )
        else:
            self.networks.choose(asked.network)
        return replace(
            asked,
            mounts=tuple(map(_name_mount, mounts.values())),
            volumes_from=(),
            env=(*merge_environment(asked.env_merge, image.config.config.env), *asked.env),
            env_merge=(),
            hosts=tuple(self._resolve_host(asked, ip, name) for ip, name in asked.hosts),
        )

    def _resolve_host(self, asked: RunOptions, ip: str, name: str) -> tuple[str, str]:
        return (self.networks.find_gateway(asked.network) if ip == _HOST_GATEWAY else ip), name

    def gather(
        self,
        record: LocalRecord,
        image: ImageRecord,
        log_directory: str,
        ports: tuple[PortMapping, ...],
        made: list[str],
    ) -> Facts:
        """Raises NotFound for a secret that is not there.  The names of volumes made here come into `made`."""
        asked = record.asked
        mounts = [self._gather_mount(mount, image, made) for mount in asked.mounts]
        return Facts(
            image_id=image.id,
            image_name=asked.image,
            log_directory=log_directory,
            log_path=f"{record.id}/{LOG_FILE}",
            mounts=(*mounts, *self.secrets.mounts(record.id, asked.secrets)),
            ports=ports,
            networks=self.networks.choose(asked.network) if record.own_pod else (),
            secrets=self.secrets.variables(asked.secrets),
        )

    def foresee(self, record: LocalRecord, image: ImageRecord, ports: tuple[PortMapping, ...]) -> Facts:
        """What `gather` would answer; nothing is made."""
        asked = record.asked
        mounts = [plan_mount(mount, self._foresee_source(mount)) for mount in asked.mounts]
        return Facts(
            image_id=image.id,
            image_name=asked.image,
            log_directory="",
            mounts=(*mounts, *self.secrets.mounts(record.id, asked.secrets)),
            ports=ports,
            networks=self.networks.choose(asked.network) if record.own_pod else (),
            secrets=self.secrets.variables(asked.secrets),
        )

    def _foresee_source(self, mount: VolumeMount) -> str:
        return self.volumes.locate(mount.source) if mount.kind == "volume" else ""

    def describe(self, record: LocalRecord) -> tuple[str, ...]:
        """What `gather` and `ready` would do, a line each."""
        volumes = (
            f"volume {name}: made unless it is there, filled from the image" for name in _list_volumes(record)
        )
        secrets = (f"secret {use.name} as {use.kind}" for use in record.asked.secrets)
        return (*volumes, *secrets)

    def _gather_mount(self, mount: VolumeMount, image: ImageRecord, made: list[str]) -> Mount:
        if mount.kind != "volume":
            return plan_mount(mount)
        if self.volumes.ensure(mount.source):
            made.append(mount.source)
        if mount.copy_up:
            self.volumes.fill(mount.source, image, mount.target)
        else:
            self.volumes.mark_filled(mount.source)
        return plan_mount(mount, self.volumes.locate_inside(mount.source, mount.sub_path))

    def ready(self, record: LocalRecord) -> None:
        """Idempotent."""
        for name in _list_volumes(record):
            self.volumes.mount(name)
        self.secrets.copy(record.id, record.asked.secrets)

    def name_neighbours(self, record: LocalRecord) -> None:
        """Whoever shares a network with a container hears who is there now."""
        self.networks.name_neighbours_of(record.pod_id, record.asked.network.names)

    def release(self, record: LocalRecord, *, volumes: bool) -> None:
        """The container's record is gone; `volumes` are its anonymous ones.  Idempotent."""
        if record.asked.secrets:
            self.secrets.forget(record.id)
        if volumes:
            self.volumes.remove_unused(_list_volumes(record))
        self.name_neighbours(record)


def _plan_image_volumes(asked: RunOptions, image: ImageRecord) -> Sequence[VolumeMount]:
    if asked.image_volumes == "ignore":
        return ()
    return [VolumeMount(asked.image_volumes, target) for target in image.config.config.volumes]


def count_users(records: Sequence[LocalRecord]) -> dict[str, tuple[str, ...]]:
    """Names of containers by the names of their volumes."""
    found: dict[str, list[str]] = {}
    for record in records:
        for name in _list_volumes(record):
            found.setdefault(name, []).append(record.name)
    return {name: tuple(users) for name, users in found.items()}


def _list_volumes(record: LocalRecord) -> Sequence[str]:
    return list(dict.fromkeys(mount.source for mount in record.asked.mounts if mount.kind == "volume"))


def _name_mount(mount: VolumeMount) -> VolumeMount:
    return replace(mount, source=invent_volume()) if mount.kind == "volume" and not mount.source else mount


def _borrow(text: str, find: Callable[[str], LocalRecord]) -> Sequence[VolumeMount]:
    """`--volumes-from NAME[:ro|rw]`: its binds and volumes."""
    name, _, options = text.partition(":")
    words = options.split(",") if options else []
    for word in words:
        if word not in ("ro", "rw", "z", "Z"):
            raise InvalidArgument(f"volumes-from {text}: unknown option {word!r}", hint="ro or rw")
    found = [mount for mount in find(name).asked.mounts if mount.kind in ("bind", "volume")]
    return [replace(mount, readonly=True) for mount in found] if "ro" in words else found
