"""What code in a sandbox may use up."""

from collections.abc import Collection

from msgspec import Struct

from rundlet.errors import InvalidArgument

MIB = 1 << 20


class Limits(Struct, frozen=True, kw_only=True):
    """Of one sandbox, all its calls together, but for `timeout_s` and `output_bytes`, which are a call's.

    `disk_bytes` is what may be written below the work directory; a quarter of it is there for
    /tmp, and as much for shared memory.  All of that lies in memory and counts as such.
    """

    memory_bytes: int = 512 * MIB
    cpus: float = 1.0
    pids: int = 128
    disk_bytes: int = 128 * MIB
    output_bytes: int = MIB
    timeout_s: float = 60.0
    open_files: int = 1024


def check_limits(limits: Limits) -> None:
    """Raises InvalidArgument for one that is not positive: a sandbox without limits is none."""
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if not value > 0:
            raise InvalidArgument(f"limits.{name}: must be positive, got {value}")


_UNKEPT = {
    "memory_bytes": ("memory", "holds for each process, not for all together"),
    "cpus": ("cpu", "is not kept"),
}


def find_unkept(controllers: Collection[str]) -> tuple[str, ...]:
    """Limits that cannot be kept with these cgroup controllers; that of processes has another way (`plan`)."""
    return tuple(name for name, (controller, _) in _UNKEPT.items() if controller not in controllers)


def describe_unkept(name: str) -> str:
    """A warning in one line."""
    return f"sandbox: limits.{name} {_UNKEPT[name][1]}: no cgroup is delegated to this user"
