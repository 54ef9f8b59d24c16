"""Capability sets: the default list, what the options add and drop (capabilities(7))."""

from collections.abc import Iterable

from rundlet.engine.options import Capabilities as Wanted
from rundlet.errors import InvalidArgument
from rundlet.kernel.capability import NAMES as ALL
from rundlet.spec.runtime import Capabilities

# What an unprivileged container of the common engines starts with.
DEFAULT = frozenset(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)


def normalize(names: Iterable[str], path: str) -> frozenset[str]:
    """Upper case, with CAP_; "ALL" means every one.

    Raises InvalidArgument "<path>[1]: no such capability …".
    """
    found: set[str] = set()
    for index, text in enumerate(names):
        name = text.upper()
        if name in ("ALL", "CAP_ALL"):
            found.update(ALL)
            continue
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in ALL:
            raise InvalidArgument(f"{path}[{index}]: no such capability: {text!r}")
        found.add(name)
    return frozenset(found)


def choose(wanted: Wanted, *, privileged: bool) -> Capabilities:
    """The five sets of config.md#linux-process.

    Drops win over adds, but a name added one by one survives "drop ALL".
    """
    add = normalize(wanted.add, "security.capabilities.add")
    drop = normalize(wanted.drop, "security.capabilities.drop")
    ambient = normalize(wanted.add_ambient, "security.capabilities.add_ambient")
    if privileged:
        chosen = frozenset(ALL)
    elif len(drop) == len(ALL):
        chosen = add if len(add) < len(ALL) else frozenset()
    else:
        chosen = (DEFAULT | add) - drop
    held = sorted(chosen | ambient, key=ALL.index)
    raised = sorted(ambient, key=ALL.index)
    return Capabilities(
        bounding=held, effective=held, permitted=held, inheritable=raised or None, ambient=raised or None
    )
