"""Which ids a container's user namespace has: `--userns auto`, `keep-id` and `nomap`.  Pure but for `read_host_ids`.

    auto      a range of its own, which no other container has
    keep-id   the user who asks is that same user inside; the other ids are that user's ranges
    nomap     the user's ranges from 0 on, without the user

keep-id and nomap are an ordinary user's, who is 0 in the namespaces where containers are made.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from rundlet.kernel.namespace import in_user_namespace, list_mapped, outer_uid
from rundlet.local.options import Namespaces, RunOptions
from rundlet.local.words.numbers import parse_whole, split_options
from rundlet.rootless.subid import SUBGID_FILE, SUBUID_FILE, Range, read_all_ranges, read_ranges

# The user whose ranges podman gives to such containers.
_OWNER = "containers"
# Where the host names none: ids for containers, which no person has (systemd.io, UIDS-GIDS).
_POOL = Range(0x80000, 0x70000000 - 0x80000)
_COUNT = 65536
_USER_COUNT = 1024  # an ordinary user seldom has more than 65536 ids in all
_KEYS = {"auto": ("size",), "keep-id": ("uid", "gid"), "nomap": ()}
_MODES = tuple(_KEYS)
Map = tuple[tuple[int, int, int], ...]


class HostIds(NamedTuple):
    """`rows` are the ids that can be given out, ascending: `pool` to choose from, `reserved` are others'.

    `user` is the (uid, gid) of the ordinary user who asks, None for root.
    """

    rows: Sequence[Range]
    pool: Sequence[Range]
    reserved: Sequence[Range] = ()
    user: tuple[int, int] | None = None


def read_host_ids() -> HostIds:
    """Of this process."""
    rows = [Range(*row) for row in list_mapped("uid_map")]
    if in_user_namespace():
        return HostIds(rows, [row for row in rows if row.first], user=(outer_uid(), _outer_gid()))
    own = read_ranges(SUBUID_FILE, _OWNER, -1)
    others = (one for path in (SUBUID_FILE, SUBGID_FILE) for one in read_all_ranges(path))
    return HostIds(rows, own or (_POOL,), [] if own else list(others))


def _outer_gid() -> int:
    with open("/proc/self/gid_map", encoding="ascii") as file:
        return next(int(outside) for inside, outside, _ in map(str.split, file) if inside == "0")


def wants_ids(asked: RunOptions) -> bool:
    """Whether its user namespace is to be worked out."""
    return asked.namespaces.user.partition(":")[0] in _MODES and not asked.namespaces.uid_maps


def choose_ids(asked: RunOptions, host: HostIds, taken: Sequence[Range]) -> RunOptions:
    """The options with maps of ids; `taken` are those of other containers.

    Raises InvalidArgument, FailedPrecondition where this user has no ids to give, ResourceExhausted when all are taken.
    """
    mode, _, text = asked.namespaces.user.partition(":")
    settings = split_options(text.split(",") if text else (), _KEYS[mode])
    if mode == "auto":
        return _with_maps(asked, *[_choose_own(settings.get("size", ""), host, taken)] * 2)
    if host.user is None:
        raise InvalidArgument(
            f"--userns {mode}: only an ordinary user has an id to keep or to leave out",
            hint="root: --userns auto, or --uidmap",
        )
    if len(host.rows) < 2 and host.rows[0].length < 2:
        raise FailedPrecondition(
            f"--userns {mode}: this user has one id and no ranges",
            hint="a line in /etc/subuid and /etc/subgid gives some; `rundlet doctor` says how",
        )
    if mode == "nomap":
        return _with_maps(asked, *[_cut(0, 1, _total(host) - 1, host.rows)] * 2)
    uid, gid = (
        parse_whole(settings[key], f"keep-id {key}") if key in settings else own
        for key, own in zip(("uid", "gid"), host.user, strict=True)
    )
    maps = (_keep(number, host) for number in (uid, gid))
    return replace(_with_maps(asked, *maps), user=asked.user or f"{uid}:{gid}")


def _with_maps(asked: RunOptions, uids: Map, gids: Map) -> RunOptions:
    spaces: Namespaces = replace(asked.namespaces, uid_maps=uids, gid_maps=gids)
    return replace(asked, namespaces=spaces)


def _total(host: HostIds) -> int:
    return sum(row.length for row in host.rows)


def _keep(own: int, host: HostIds) -> Map:
    """`own` inside is 0, who asks; what is below and above it follows from 1 on."""
    total = _total(host)
    below = min(own, total - 1)
    return (
        *_cut(0, 1, below, host.rows),
        (own, 0, 1),
        *_cut(own + 1, below + 1, total - 1 - below, host.rows),
    )


def _cut(inside: int, first: int, length: int, rows: Sequence[Range]) -> Map:
    """One range as the kernel takes it: no part goes beyond a row of the namespace around (user_namespaces(7))."""
    return tuple(_parts(inside, first, length, rows))


def _parts(inside: int, first: int, length: int, rows: Sequence[Range]) -> Iterator[tuple[int, int, int]]:
    for row in rows:
        start, end = max(first, row.first), min(first + length, row.first + row.length)
        if start < end:
            yield inside + start - first, start, end - start


def _choose_own(size: str, host: HostIds, taken: Sequence[Range]) -> Map:
    count = parse_whole(size, "size", 1) if size else (_COUNT if host.user is None else _USER_COUNT)
    for pool in host.pool:
        first = _find_free(pool, count, [*taken, *host.reserved])
        if first is not None:
            return ((0, first, count),)
    raise ResourceExhausted(
        f"--userns auto: no {count} ids are free",
        hint="remove containers that have some, or ask for fewer: --userns auto:size=1024",
    )


def _find_free(pool: Range, count: int, taken: Sequence[Range]) -> int | None:
    first = pool.first
    for one in sorted(taken):
        if one.first < first + count and first < one.first + one.length:
            first = one.first + one.length
    return first if first + count <= pool.first + pool.length else None
