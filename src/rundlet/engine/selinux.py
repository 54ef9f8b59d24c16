"""SELinux labels of pods and containers, on a kernel that has SELinux.

    /sys/fs/selinux/context                       a label written there is refused unless the policy has it
    /etc/selinux/config                           SELINUXTYPE=targeted
    /etc/selinux/<type>/contexts/lxc_contexts     process = "system_u:system_r:container_t:s0"
                                                  file = "system_u:object_r:container_file_t:s0"

A label is user:role:type:level; the level is a sensitivity with categories, s0:c1,c2.  Every pod has two
categories that no other pod has, which its containers share, so a container can neither read
nor signal what belongs to another pod.  A privileged one runs as spc_t, which the policy leaves alone.
Sources: selinux(8), lxc_contexts of container-selinux, Documentation/ABI/stable/sysfs-fs-selinux*.
"""

import errno
import os
import random
from collections.abc import Collection
from typing import NamedTuple

from rundlet.engine.options import SelinuxLabel
from rundlet.errors import FailedPrecondition, InvalidArgument

_CATEGORIES = 1024
_PRIVILEGED_TYPE = "spc_t"
_ATTRIBUTE = "security.selinux"
_SELINUXFS = "/sys/fs/selinux"
_CONFIG = "/etc/selinux"
# Relabelling one of these would take the host from under its own daemons.
_PROTECTED = frozenset(
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /opt /proc /root /run /sbin /srv /sys /tmp /usr /var"
    " /usr/bin /usr/lib /usr/sbin /usr/share /var/lib /var/log /var/run".split()
)


class Label(NamedTuple):
    user: str
    role: str
    type: str
    level: str

    def __str__(self) -> str:
        return ":".join(part for part in self if part)


class Defaults(NamedTuple):
    """What the host's policy gives to containers."""

    process: Label
    file: Label


class Labels(NamedTuple):
    """Of a container's processes and of its files; empty where the kernel has no SELinux."""

    process: str = ""
    mount: str = ""


_USUAL = Defaults(
    Label("system_u", "system_r", "container_t", "s0"),
    Label("system_u", "object_r", "container_file_t", "s0"),
)


def parse_label(text: str) -> Label:
    """Raises InvalidArgument for what has not even a type."""
    parts = text.split(":", 3)
    if len(parts) < 3:
        raise InvalidArgument(f"SELinux label {text!r}: expected user:role:type:level")
    return Label(*parts, *[""] * (4 - len(parts)))


def read_defaults(config: str = _CONFIG, selinuxfs: str = _SELINUXFS) -> Defaults | None:
    """None when SELinux is off; the usual labels where the policy's own file says nothing."""
    if not os.path.exists(f"{selinuxfs}/enforce"):
        return None
    policy = _read_pairs(f"{config}/config").get("SELINUXTYPE", "targeted")
    found = _read_pairs(f"{config}/{policy}/contexts/lxc_contexts")
    process, file = found.get("process"), found.get("file")
    return Defaults(
        parse_label(process) if process else _USUAL.process, parse_label(file) if file else _USUAL.file
    )


def _read_pairs(path: str) -> dict[str, str]:
    """Lines `key = "value"`; an absent file has none."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.partition("=") for line in file if not line.lstrip().startswith("#")]
    except OSError:
        return {}
    return {key.strip(): value.strip().strip('"') for key, equals, value in lines if equals}


def choose_pod_label(wanted: SelinuxLabel, defaults: Defaults, taken: Collection[str]) -> str:
    """The process label of a pod; its level is one that no label of `taken` has, unless one is asked for."""
    levels = {parse_label(label).level for label in taken if label}
    level = wanted.level or _pick_level(levels)
    return str(_merge(defaults.process._replace(level=level), wanted))


def _pick_level(taken: Collection[str]) -> str:
    chooser = random.SystemRandom()
    while True:
        low, high = sorted(chooser.sample(range(_CATEGORIES), 2))
        level = f"s0:c{low},c{high}"
        if level not in taken:
            return level


def _merge(label: Label, wanted: SelinuxLabel) -> Label:
    return Label(
        wanted.user or label.user,
        wanted.role or label.role,
        wanted.type or label.type,
        wanted.level or label.level,
    )


def choose_labels(wanted: SelinuxLabel, pod_label: str, defaults: Defaults, *, privileged: bool) -> Labels:
    """A container's labels; what it does not ask for is its pod's."""
    pod = parse_label(pod_label)
    if privileged:
        pod = pod._replace(type=_PRIVILEGED_TYPE, level=parse_label(str(defaults.process)).level)
    process = _merge(pod, wanted)
    return Labels(str(process), file_label(str(process), defaults))


def file_label(process_label: str, defaults: Defaults) -> str:
    """What the files of processes with that label have: the host's type for it, and their level."""
    return str(defaults.file._replace(level=parse_label(process_label).level))


def check_label(label: str, where: str, selinuxfs: str = _SELINUXFS) -> None:
    """Raises InvalidArgument when the loaded policy does not have the label."""
    try:
        with open(f"{selinuxfs}/context", "wb", buffering=0) as file:
            file.write(label.encode() + b"\0")
    except OSError as error:
        raise InvalidArgument(f"{where}: the host's SELinux policy has no label {label!r}") from error


def relabel(path: str, label: str, where: str) -> None:
    """Give `path` and all below it the label; links are not followed, nor what is put in their place meanwhile.

    Raises InvalidArgument for a directory that the host lives on.
    """
    if os.path.normpath(path) in _PROTECTED:
        raise InvalidArgument(f"{where}: {path} belongs to the host and cannot be relabelled")
    value = label.encode() + b"\0"
    try:
        _set_label(path, value)
        if os.path.isdir(path):
            for _, directories, files, fd in os.fwalk(path):
                for name in (*directories, *files):
                    _set_label(f"/proc/self/fd/{fd}/{name}", value)
    except OSError as error:
        raise FailedPrecondition(f"{where}: cannot relabel {error.filename}: {error.strerror}") from error


def _set_label(path: str, value: bytes) -> None:
    try:
        os.setxattr(path, _ATTRIBUTE, value, follow_symlinks=False)
    except OSError as error:
        # A file system without labels has one of its mount; a file may go while the tree is walked.
        if error.errno not in (errno.ENOTSUP, errno.ENOENT):
            raise
