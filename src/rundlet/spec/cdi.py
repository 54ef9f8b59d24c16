"""Container Device Interface 0.3–1.0: what a vendor's file says a device needs in a container.

A device is asked for by its qualified name, "vendor.com/class=name".
"""

import re

from msgspec import Struct

from rundlet.errors import InvalidArgument

_NAME = re.compile(r"(?P<kind>[A-Za-z][\w.-]*[A-Za-z0-9]?/[A-Za-z][\w.-]*)=(?P<device>[A-Za-z0-9][\w.:-]*)\Z")


class _Model(Struct, frozen=True, rename="camel"):
    """Immutable, camelCase in JSON; unknown members are ignored."""


class DeviceNode(_Model, frozen=True):
    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class Hook(_Model, frozen=True):
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Mount(_Model, frozen=True):
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class ContainerEdits(_Model, frozen=True):
    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[Mount, ...] = ()
    additional_gids: tuple[int, ...] = ()


class Device(_Model, frozen=True):
    name: str
    container_edits: ContainerEdits = ContainerEdits()


class Specification(_Model, frozen=True):
    """One file; `container_edits` go with every device of it that is used."""

    cdi_version: str
    kind: str
    devices: tuple[Device, ...] = ()
    container_edits: ContainerEdits = ContainerEdits()


def parse_device_name(text: str) -> tuple[str, str]:
    """(kind, device) of "vendor.com/class=name"; InvalidArgument for anything else."""
    found = _NAME.match(text)
    if found is None:
        raise InvalidArgument(f"CDI device {text!r}: expected vendor.com/class=name")
    return found["kind"], found["device"]
