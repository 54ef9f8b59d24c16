"""Steps that mount something inside the rootfs."""

import errno
import os
from collections.abc import Callable
from typing import Any

from rundlet.errors import FailedPrecondition, PermissionDenied
from rundlet.kernel import mount as m
from rundlet.plan import steps
from rundlet.runtime.context import Context
from rundlet.runtime.paths import is_directory, open_mountpoint, open_path

_PROPAGATIONS = {
    "private": m.MS_PRIVATE,
    "slave": m.MS_SLAVE,
    "shared": m.MS_SHARED,
    "unbindable": m.MS_UNBINDABLE,
}

# What lxcfs shows of a container's own, and the few settings that are read only; as with runc.
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in """cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid
    sys/crypto/fips_enabled""".split()
)


def propagation_flags(name: str) -> tuple[int, bool]:
    """(MS_*, recursive) of "rslave" and its kin."""
    recursive = name not in _PROPAGATIONS
    return _PROPAGATIONS[name[1:] if recursive else name], recursive


def _mount(step: steps.Mount, context: Context) -> None:
    fd, data = _open_target(step, context.root_fd)
    if step.fstype in ("proc", "sysfs"):
        _demand_directory(step, fd, context)
    elif not step.flags & m.MS_REMOUNT:
        keep_proc(step, fd, context)
    flags = step.flags & ~m.MS_RDONLY if step.copy_up else step.flags
    try:
        m.mount(step.source, f"/proc/self/fd/{fd}", step.fstype or None, flags, data or None)
        if step.copy_up:
            _fill(step, context.root_fd, fd)
    except OSError as error:
        if step.fstype != "sysfs" or error.errno != errno.EPERM:
            error.filename = step.target
            raise
        _bind_sysfs(fd, step.flags)
    finally:
        os.close(fd)
    if step.propagation:
        _set_propagation(context.root_fd, step.target, step.propagation)


def _open_target(step: steps.Mount, root_fd: int) -> tuple[int, str]:
    """The place to mount on, and the options: a tmpfs takes the mode of the directory that it covers, as runc has it."""
    try:
        fd = open_path(root_fd, step.target)
    except FileNotFoundError:
        if step.flags & m.MS_REMOUNT:
            raise
        return open_mountpoint(root_fd, step.target, directory=True), step.data
    if step.fstype != "tmpfs" or "mode=" in step.data or step.flags & m.MS_REMOUNT:
        return fd, step.data
    mode = f"mode={os.fstat(fd).st_mode & 0o7777:o}"
    return fd, f"{step.data},{mode}" if step.data else mode


def _fill(step: steps.Mount, root_fd: int, below_fd: int) -> None:
    """tmpcopyup: the new tmpfs starts with what it covers, and is made read-only afterwards."""
    from rundlet.runtime.copyup import copy_directory

    fd = open_path(root_fd, step.target)
    try:
        copy_directory(below_fd, fd)
        if step.flags & m.MS_RDONLY:
            m.mount_setattr(fd, set_attrs=m.MOUNT_ATTR_RDONLY)
    finally:
        os.close(fd)


def _bind_sysfs(fd: int, flags: int) -> None:
    """Without a network namespace of the user namespace's own no sysfs can be made: the host's is bound."""
    tree = m.open_tree("/sys", recursive=True)
    try:
        attrs = m.MOUNT_ATTR_RDONLY if flags & m.MS_RDONLY else 0
        attrs |= m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
        m.mount_setattr(tree, set_attrs=attrs, recursive=True)
        m.move_mount(tree, fd)
    finally:
        os.close(tree)


def _set_propagation(root_fd: int, target: str, propagation: str) -> None:
    flags, recursive = propagation_flags(propagation)
    fd = open_path(root_fd, target)
    try:
        m.mount_setattr(fd, propagation=flags, recursive=recursive)
    finally:
        os.close(fd)


def set_tree_propagation(tree: int, propagation: str) -> None:
    """Of a detached tree, as the plan spells it ("rslave")."""
    flags, recursive = propagation_flags(propagation)
    m.mount_setattr(tree, propagation=flags, recursive=recursive)


def open_bind(step: steps.Bind, userns_fd: int = -1, inherited: str = "") -> int:
    """The source as a detached tree with all its attributes.

    `userns_fd` is the container's user namespace; `inherited` the propagation of what
    comes straight from the host's mounts.
    """
    tree = m.open_tree(step.source, recursive=step.recursive)
    try:
        if inherited:
            set_tree_propagation(tree, inherited)
        if step.idmap:
            _map_ids(tree, step, userns_fd)
        if step.set_attrs or step.clear_attrs:
            m.mount_setattr(
                tree, set_attrs=step.set_attrs, clear_attrs=step.clear_attrs, recursive=step.whole_tree
            )
        if step.propagation:
            set_tree_propagation(tree, step.propagation)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _map_ids(tree: int, step: steps.Bind, userns_fd: int) -> None:
    from rundlet.runtime.userns import make_user_namespace

    own = make_user_namespace(step.uid_map, step.gid_map) if step.uid_map else -1
    try:
        map_ids(tree, own if own >= 0 else userns_fd, step.source, recursive=step.idmap == "ridmap")
    finally:
        if own >= 0:
            os.close(own)


def map_ids(tree: int, userns_fd: int, path: str, *, recursive: bool = False) -> None:
    """Show a detached tree through the ids of a user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP)."""
    try:
        m.mount_setattr(tree, set_attrs=m.MOUNT_ATTR_IDMAP, userns_fd=userns_fd, recursive=recursive)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FailedPrecondition(
            f"idmapped mount of {path}: its file system cannot do that, or it is one already"
        ) from error


def _bind(step: steps.Bind, context: Context) -> None:
    tree = open_bind(step) if context.trees is None else context.trees.pop(0)
    try:
        target = open_mountpoint(context.root_fd, step.target, directory=is_directory(tree))
        try:
            keep_proc(step, target, context, tree)
            m.move_mount(tree, target)
        finally:
            os.close(target)
    finally:
        os.close(tree)


def path_inside(fd: int, context: Context) -> str:
    """Where an open file of the rootfs lies, as the container will name it."""
    root = os.readlink(f"/proc/self/fd/{context.root_fd}").rstrip("/")
    return os.readlink(f"/proc/self/fd/{fd}").removeprefix(root) or "/"


def keep_proc(step: steps.Step, target: int, context: Context, tree: int = -1) -> None:
    """Nothing may lie over /proc and what is in it but procfs itself, and the files that lxcfs has.

    What is written through /proc (labels, sysctls) must reach the kernel, wherever the links of
    an image lead a mount (CVE-2019-16884, CVE-2023-27561); `tree` is what a bind brings.
    """
    path = path_inside(target, context)
    if not f"{path}/".startswith("/proc/") or path in _PROC_FILES:
        return
    if path == "/proc" and tree >= 0 and m.file_system_type(tree) == m.PROC_SUPER_MAGIC:
        return
    raise PermissionDenied(f"{step.describe()}: nothing but procfs may be mounted on {path}")


def _demand_directory(step: steps.Mount, target: int, context: Context) -> None:
    """procfs and sysfs lie where they are said to lie, not where a link leads them (CVE-2019-19921)."""
    path = path_inside(target, context)
    if path != os.path.normpath(f"/{step.target.lstrip('/')}"):
        raise PermissionDenied(f"{step.describe()}: a link leads to {path}, an ordinary directory is needed")


def _open_if_there(context: Context, path: str) -> int:
    """-1 where the rootfs has no such path: there is nothing to protect then."""
    try:
        return open_path(context.root_fd, path)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _set_readonly(step: steps.SetReadonly, context: Context) -> None:
    fd = _open_if_there(context, step.target)
    if fd < 0:
        return
    tree = m.open_tree("", dir_fd=fd, recursive=True)
    m.mount_setattr(tree, set_attrs=m.MOUNT_ATTR_RDONLY, recursive=True)
    m.move_mount(tree, fd)
    os.close(tree)
    os.close(fd)


def _mask_path(step: steps.MaskPath, context: Context) -> None:
    fd = _open_if_there(context, step.target)
    if fd < 0:
        return
    if is_directory(fd):
        m.mount("tmpfs", f"/proc/self/fd/{fd}", "tmpfs", m.MS_RDONLY, "size=0k,mode=755")
    else:
        tree = m.open_tree("/dev/null")
        m.move_mount(tree, fd)
        os.close(tree)
    os.close(fd)


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    steps.Mount: _mount,
    steps.Bind: _bind,
    steps.SetReadonly: _set_readonly,
    steps.MaskPath: _mask_path,
}
