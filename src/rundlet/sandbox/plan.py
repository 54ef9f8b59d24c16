"""What a sandbox is to the engine.  Pure.

pod        no network (unless asked for), an own user namespace, a tiny init that reaps orphans
container  no capabilities, no new privileges, strict seccomp, a root that is read-only, a user
           who is not root; its first program, of another user, waits
/work      the working directory and home, in memory, as /tmp is
"""

import os
from collections.abc import Collection
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
    """What tells one sandbox from the others: its pod's id, its owner, and its ids on the host."""

    pod_id: str
    owner: str
    first_host_id: int


def choose_first_id(taken: Collection[int], seed: int) -> int:
    """The first of 65 536 ids of the host that no other sandbox has.

    Raises ResourceExhausted when there are 16 384 sandboxes.
    """
    for offset in range(_SLOTS):
        first = _FIRST_HOST_ID + (seed + offset) % _SLOTS * _IDS
        if first not in taken:
            return first
    raise ResourceExhausted(f"there are {_SLOTS} sandboxes on this machine already")


def plan_pod(options: SandboxOptions, ids: Ids) -> PodOptions:
    mapping = (IdMapping(0, ids.first_host_id, _IDS),)
    return PodOptions(
        name=f"sandbox-{ids.pod_id[:12]}",
        origin="local",
        hostname=CONTAINER,
        labels={OWNER_LABEL: ids.owner},
        security=Security(
            namespaces=Namespaces(pid="pod", user="pod", uid_mappings=mapping, gid_mappings=mapping)
        ),
        runtime_handler=options.runtime_handler,
        connected=bool(options.network),
        networks=(NetworkUse(options.network),) if options.network else (),
        shm_size_bytes=_part(options.limits),
    )


def plan_container(options: SandboxOptions, image_id: str, pause_path: str) -> ContainerOptions:
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
        resources=_plan_resources(limits),
        security=Security(
            namespaces=Namespaces(pid="pod"),
            capabilities=Capabilities(drop=("ALL",)),
            # Whoever runs in it is another user, and cannot kill what keeps it.
            user_id=0,
            group_id=0,
            supplemental_groups_policy="strict",
            readonly_rootfs=not options.writable,
            no_new_privileges=True,
        ),
        seccomp_inline=make_profile(os.uname().machine),
        rlimits=(
            Rlimit("RLIMIT_NOFILE", limits.open_files, limits.open_files),
            Rlimit("RLIMIT_CORE", 0, 0),
        ),
    )


def _plan_resources(limits: Limits) -> Resources:
    return Resources(
        cpu_period_us=_PERIOD_US,
        cpu_quota_us=max(int(limits.cpus * _PERIOD_US), 1000),
        memory_limit_bytes=limits.memory_bytes,
        memory_swap_limit_bytes=limits.memory_bytes,
        pids_limit=limits.pids,
    )


def _tmpfs(path: str, size_bytes: int) -> Mount:
    return Mount(path, tmpfs=("mode=1777", f"size={size_bytes}", "nr_inodes=65536"))


def _part(limits: Limits) -> int:
    return max(limits.disk_bytes // 4, _SMALLEST_TMPFS)
