"""What a sandbox is to the engine.  Pure.

pod        no network (unless asked for), an own user namespace
container  no capabilities, no new privileges, strict seccomp, a root that is read-only, a user
           who is not root; its first program waits, and being process 1 cannot be killed from inside
/work      the working directory and home, in memory, as /tmp is

As an ordinary user the ids are the user's own ones (`rundlet.rootless.mapping`), the same for all of that
user's sandboxes, and with a single one the code runs as the sandbox's root, which has no rights either.
Without a cgroup RLIMIT_NPROC keeps the number of processes, counted in the sandbox's user namespace, and
RLIMIT_DATA the memory of each.
"""

import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

from msgspec import Struct

from rundlet.engine.options import (
    Capabilities,
    ContainerOptions,
    IdMapping,
    Mount,
    Namespaces,
    NetworkUse,
    PodOptions,
    Resources,
    Rlimit,
    Security,
)
from rundlet.errors import ResourceExhausted
from rundlet.sandbox.limits import MIB, Limits
from rundlet.sandbox.profile import make_profile

OWNER_LABEL = "dev.rundlet.sandbox.owner"
WORK = "/work"
USER_ID = 1000
PAUSE = "/.pause"
_PERIOD_US = 100_000
# Ids of the host that sandboxes have: far above those of people and of subuid's ranges.
_FIRST_HOST_ID = 1 << 30
_IDS = 1 << 16
_SLOTS = 1 << 14
_SMALLEST_TMPFS = MIB
CONTAINER = "sandbox"


Rows = Sequence[tuple[int, int]]


class SandboxOptions(Struct, frozen=True, kw_only=True):
    """One sandbox.  `network` names one; "" is none at all.

    With `writable` the image's files may be changed too, for a `snapshot`: that lies on the disk, without a limit.
    """

    image: str
    limits: Limits = Limits()
    env: tuple[tuple[str, str], ...] = ()
    network: str = ""
    writable: bool = False
    runtime_handler: str = ""


class Ids(NamedTuple):
    """Of its user namespace; `user_id` runs the code."""

    uids: tuple[IdMapping, ...]
    gids: tuple[IdMapping, ...]
    user_id: int


class Identity(NamedTuple):
    """What tells one sandbox from the others: its pod's id, its owner, its ids; and what can keep limits."""

    pod_id: str
    owner: str
    ids: Ids
    controllers: Collection[str]


def choose_ids(taken: Collection[int], seed: int, uids: Rows, gids: Rows) -> Ids:
    """`uids` and `gids` are (first id, how many) that there are here; `taken` first ones of other sandboxes."""
    end = _FIRST_HOST_ID + _SLOTS * _IDS
    if _has(uids, end) and _has(gids, end):
        mapping = (IdMapping(0, choose_first_id(taken, seed), _IDS),)
        return Ids(mapping, mapping, USER_ID)
    user_id = USER_ID if _has(uids, USER_ID) and _has(gids, USER_ID) else 0
    return Ids(_keep(uids), _keep(gids), user_id)


def _has(rows: Rows, number: int) -> bool:
    return any(0 <= number - first < count for first, count in rows)


def _keep(rows: Rows) -> tuple[IdMapping, ...]:
    """Each id as it is, by the rows that there are: the kernel takes none that goes beyond one of them."""
    return tuple(IdMapping(first, first, min(count, _IDS - first)) for first, count in rows if first < _IDS)


def choose_first_id(taken: Collection[int], seed: int) -> int:
    """The first of 65 536 ids of the host that no other sandbox has.

    Raises ResourceExhausted when there are 16 384 sandboxes.
    """
    for offset in range(_SLOTS):
        first = _FIRST_HOST_ID + (seed + offset) % _SLOTS * _IDS
        if first not in taken:
            return first
    raise ResourceExhausted(f"there are {_SLOTS} sandboxes on this machine already")


def plan_pod(options: SandboxOptions, identity: Identity) -> PodOptions:
    ids = identity.ids
    return PodOptions(
        name=f"sandbox-{identity.pod_id[:12]}",
        origin="local",
        hostname=CONTAINER,
        labels={OWNER_LABEL: identity.owner},
        security=Security(
            namespaces=Namespaces(pid="container", user="pod", uid_mappings=ids.uids, gid_mappings=ids.gids)
        ),
        runtime_handler=options.runtime_handler,
        connected=bool(options.network),
        networks=(NetworkUse(options.network),) if options.network else (),
        shm_size_bytes=_part(options.limits),
    )


def plan_container(
    options: SandboxOptions, identity: Identity, image_id: str, pause_path: str
) -> ContainerOptions:
    limits = options.limits
    return ContainerOptions(
        name=CONTAINER,
        image=image_id,
        origin="local",
        user_image=options.image,
        command=(PAUSE,),
        working_dir=WORK,
        env=(("HOME", WORK), *options.env),
        mounts=(
            Mount(PAUSE, host_path=pause_path, readonly=True),
            _tmpfs(WORK, limits.disk_bytes),
            _tmpfs("/tmp", _part(limits)),  # noqa: S108 - of the sandbox
        ),
        resources=_plan_resources(limits, identity.controllers),
        security=Security(
            namespaces=Namespaces(pid="container"),
            capabilities=Capabilities(drop=("ALL",)),
            user_id=0,
            group_id=0,
            supplemental_groups_policy="strict",
            readonly_rootfs=not options.writable,
            no_new_privileges=True,
        ),
        seccomp_inline=make_profile(os.uname().machine),
        rlimits=_plan_rlimits(limits, identity.controllers),
    )


def _plan_resources(limits: Limits, controllers: Collection[str]) -> Resources:
    memory_bytes = limits.memory_bytes if "memory" in controllers else 0
    return Resources(
        cpu_period_us=_PERIOD_US if "cpu" in controllers else 0,
        cpu_quota_us=max(int(limits.cpus * _PERIOD_US), 1000) if "cpu" in controllers else 0,
        memory_limit_bytes=memory_bytes,
        memory_swap_limit_bytes=memory_bytes,
        pids_limit=limits.pids if "pids" in controllers else 0,
    )


def _plan_rlimits(limits: Limits, controllers: Collection[str]) -> tuple[Rlimit, ...]:
    values = {"RLIMIT_NOFILE": limits.open_files, "RLIMIT_CORE": 0}
    if "pids" not in controllers:
        values["RLIMIT_NPROC"] = limits.pids
    if "memory" not in controllers:
        values["RLIMIT_DATA"] = limits.memory_bytes
    return tuple(Rlimit(name, value, value) for name, value in values.items())


def _tmpfs(path: str, size_bytes: int) -> Mount:
    return Mount(path, tmpfs=("mode=1777", f"size={size_bytes}", "nr_inodes=65536"))


def _part(limits: Limits) -> int:
    return max(limits.disk_bytes // 4, _SMALLEST_TMPFS)
