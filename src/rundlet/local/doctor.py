"""Looks at the host: can it run containers, and if not quite, what is to be done.

What an ordinary user gets is `rootless.facts`' to say.

Each check answers one Finding and changes nothing; what only trying can show (a user namespace, a
netlink socket) is tried by a process or socket that ends at once.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from rundlet.cgroup.layout import detect_layout
from rundlet.errors import Error
from rundlet.kernel.capability import has_capability
from rundlet.local.settings import Places
from rundlet.netlink.socket import NETLINK_NETFILTER
from rundlet.rootless.facts import Finding, judge, read_facts

_GIB = 1 << 30
_LOW_BYTES, _EMPTY_BYTES = 2 * _GIB, _GIB // 8
# mount_setattr(2), without which a container's mounts cannot be made read-only before they are seen.
_OLDEST_KERNEL = (5, 12)
_CAPABILITIES = (
    "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID",
    "CAP_SETPCAP", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SYS_PTRACE",
)  # fmt: skip
_CONTROLLERS = ("memory", "cpu", "pids")
_INOTIFY_LOW = 128
_TRY_S = 10.0
_TRY_USER_NAMESPACE = (
    "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True);"
    "sys.exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())"
)


class Host(NamedTuple):
    """Whom the look is for."""

    places: Places
    uid: int

    @property
    def is_root(self) -> bool:
        return self.uid == 0


def examine(host: Host) -> list[Finding]:
    """All findings: what everybody needs, then what root or an ordinary user needs."""
    own = [check(host) for check in _ROOT] if host.is_root else judge(read_facts())
    return [*(check(host) for check in _EVERYBODY), *own]


def _check_kernel(_: Host) -> Finding:
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST_KERNEL:
        return Finding("kernel", "fault", release, "at least Linux 5.12 is needed")
    return Finding("kernel", "ok", release)


def _check_capabilities(_: Host) -> Finding:
    missing = [name for name in _CAPABILITIES if not has_capability(name)]
    if missing:
        return Finding(
            "capabilities",
            "fault",
            f"root without {', '.join(missing)}",
            "run it outside of a confined container",
        )
    return Finding("capabilities", "ok", "all that an engine needs")


def _check_user_namespaces(_: Host) -> Finding:
    """Sandboxes have one each; containers of root have none unless that is asked for."""
    name = "user namespaces"
    number = _try_user_namespace()
    if number == 0:
        return Finding(name, "ok", f"{_read_sysctl('user/max_user_namespaces') or '?'} at most")
    for sysctl, wrong, advice in (
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "allow them to Python in an AppArmor profile"),
    ):
        if _read_sysctl(sysctl) == wrong:
            return Finding(name, "warning", f"{sysctl.replace('/', '.')} is {wrong}", advice)
    reason = os.strerror(number).lower()
    return Finding(name, "warning", reason, "the kernel, or the container this runs in, has none for us")


def _try_user_namespace() -> int:
    """0, or the errno with which unshare(2) fails."""
    command = [sys.executable, "-I", "-S", "-c", _TRY_USER_NAMESPACE]
    return subprocess.run(command, check=False, timeout=_TRY_S).returncode


def _check_overlay(_: Host) -> Finding:
    with open("/proc/filesystems", encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    if "overlay" in known:
        return Finding("overlay", "ok", "overlayfs")
    if shutil.which("fuse-overlayfs"):
        return Finding("overlay", "warning", "fuse-overlayfs only, which is slower", "modprobe overlay")
    return Finding("overlay", "fault", "no overlayfs", "modprobe overlay, or install fuse-overlayfs")


def _check_cgroups(_: Host) -> Finding:
    try:
        layout = detect_layout()
    except Error as error:
        return Finding("cgroups", "fault", error.message, error.hint or "mount a cgroup hierarchy")
    missing = [name for name in _CONTROLLERS if name not in layout.mounts]
    if missing:
        found = f"version {layout.version} without {', '.join(missing)}"
        return Finding("cgroups", "fault", found, "mount them, or boot without cgroup_disable=")
    return Finding("cgroups", "ok", f"version {layout.version}")


def _check_seccomp(_: Host) -> Finding:
    path = "/proc/sys/kernel/seccomp/actions_avail"
    if os.path.exists(path):
        return Finding("seccomp", "ok", "system calls can be filtered")
    return Finding(
        "seccomp", "fault", "the kernel has no filters", "a kernel with CONFIG_SECCOMP_FILTER is needed"
    )


def _check_network(_: Host) -> Finding:
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER).close()
    except OSError as error:
        return Finding(
            "nftables", "fault", (error.strerror or "").lower(), "modprobe nf_tables: host ports need it"
        )
    return Finding("nftables", "ok", "host ports and masquerading by netlink")


def _check_inotify(_: Host) -> Finding:
    text = _read_sysctl("fs/inotify/max_user_instances")
    if text.isdecimal() and int(text) < _INOTIFY_LOW:
        return Finding(
            "inotify",
            "warning",
            f"{text} instances",
            f"sysctl fs.inotify.max_user_instances={_INOTIFY_LOW * 8}",
        )
    return Finding("inotify", "ok", f"{text or 'no'} instances")


def _check_disk(host: Host) -> Finding:
    path = host.places.root
    while not os.path.exists(path):
        path = os.path.dirname(path)
    disk = os.statvfs(path)
    free_bytes = disk.f_bavail * disk.f_frsize
    found = f"{free_bytes / _GIB:.1f} GiB free on {path}"
    if free_bytes < _EMPTY_BYTES or (disk.f_files and not disk.f_favail):
        return Finding("disk", "fault", found, "rundlet system prune, or another --root")
    if free_bytes < _LOW_BYTES:
        return Finding("disk", "warning", found, "images may not find room: rundlet system prune")
    return Finding("disk", "ok", found)


def _check_programs(_: Host) -> Finding:
    """Nothing of these is needed."""
    present = [name for name in ("runc", "crun", "runsc", "criu", "gpg") if shutil.which(name)]
    return Finding("other programs", "ok", ", ".join(present) or "none, and none is needed")


Check = Callable[[Host], Finding]

_EVERYBODY: tuple[Check, ...] = (_check_kernel, _check_seccomp, _check_inotify, _check_disk, _check_programs)
_ROOT: tuple[Check, ...] = (
    _check_capabilities,
    _check_user_namespaces,
    _check_overlay,
    _check_cgroups,
    _check_network,
)


def _read_sysctl(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
