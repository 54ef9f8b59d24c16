"""Steps on the root file system itself: where it comes from and how it becomes the root."""

import os
from collections.abc import Callable
from typing import Any

from rundlet.kernel import mount as m
from rundlet.plan import steps
from rundlet.runtime.context import Context
from rundlet.runtime.mounts import propagation_flags

_OVERLAY_OPTIONS_MAX = 4000  # one page less the terminator and what mount(2) may add


def _set_root_propagation(step: steps.SetRootPropagation, context: Context) -> None:
    flags, recursive = propagation_flags(step.propagation)
    context.is_shared = flags == m.MS_SHARED
    m.mount(None, "/", None, flags | (m.MS_REC if recursive else 0))


def _mount_overlay(step: steps.MountOverlay, context: Context) -> None:
    """With many layers the names are made relative, since the kernel takes one page of options."""
    if context.trees is not None:
        _attach_root(context.trees.pop(0), context)
        return
    if context.is_shared:
        _isolate_parent(step.rootfs)
    lower, base = list(step.lower), ""
    if len(_overlay_options(step, lower)) > _OVERLAY_OPTIONS_MAX:
        base = os.path.commonpath([os.path.dirname(path) for path in lower])
        os.chdir(base)
        lower = [os.path.relpath(path, base) for path in lower]
    m.mount("overlay", step.rootfs, "overlay", 0, _overlay_options(step, lower))
    os.chdir("/")
    context.root_fd = os.open(step.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _overlay_options(step: steps.MountOverlay, lower: list[str]) -> str:
    lowers = ":".join(_escape(path) for path in lower)
    context = f',context="{step.label}"' if step.label else ""
    marks = ",userxattr" if step.userxattr else ""
    return f"lowerdir={lowers},upperdir={_escape(step.upper)},workdir={_escape(step.work)}{context}{marks}"


def _escape(path: str) -> str:
    """overlayfs splits its options at commas and colons."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _bind_rootfs(step: steps.BindRootfs, context: Context) -> None:
    if context.trees is not None:
        _attach_root(context.trees.pop(0), context)
        return
    if context.is_shared:
        _isolate_parent(step.rootfs)
    m.mount(step.source, step.rootfs, None, m.MS_BIND | m.MS_REC)
    m.mount(None, step.rootfs, None, m.MS_SLAVE if step.slave else m.MS_PRIVATE)
    context.root_fd = os.open(step.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _attach_root(tree: int, context: Context) -> None:
    """A prepared tree goes on top of "/", the one place that a process without the host's rights surely reaches.

    This process keeps seeing what lies below, until pivot_root.
    """
    m.mount(None, "/", None, m.MS_PRIVATE)  # pivot_root(2) wants the new root's parent so
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    m.move_mount(tree, root)
    os.close(root)
    context.root_fd = tree


def _isolate_parent(rootfs: str) -> None:
    """The mount that the rootfs will lie on becomes private, or the container's mounts would show on the host.

    Only where the whole tree was made shared (bidirectional volumes): reading
    mountinfo costs a millisecond.
    """
    fd = os.open(rootfs, os.O_PATH | os.O_CLOEXEC)
    try:
        mount_id = _read_mount_id(fd)
    finally:
        os.close(fd)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ", 7)
            if fields[0] == mount_id and " shared:" in line:
                m.mount(None, _unescape(fields[4]), None, m.MS_PRIVATE)
                return


def _unescape(field: str) -> str:
    """mountinfo's octal escapes (proc(5))."""
    return (
        field.encode("utf-8", "surrogateescape")
        .decode("unicode_escape")
        .encode("latin-1")
        .decode("utf-8", "surrogateescape")
    )


def _read_mount_id(fd: int) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith("mnt_id"))


def _pivot_root(_: steps.PivotRoot, context: Context) -> None:
    """pivot_root(".", "."): the old root lies over the new one and is then taken off (pivot_root(2))."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(context.root_fd)
    m.pivot_root(".", ".")
    os.fchdir(old)
    m.mount(None, ".", None, m.MS_SLAVE | m.MS_REC)  # or the umount would reach the host where all is shared
    m.umount(".", m.MNT_DETACH)
    os.close(old)
    os.chdir("/")


def _set_final_propagation(step: steps.SetFinalPropagation, _: Context) -> None:
    flags, recursive = propagation_flags(step.propagation)
    m.mount(None, "/", None, flags | (m.MS_REC if recursive else 0))


def _set_root_readonly(_: steps.SetRootReadonly, context: Context) -> None:
    m.mount_setattr(context.root_fd, set_attrs=m.MOUNT_ATTR_RDONLY)


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    steps.SetRootPropagation: _set_root_propagation,
    steps.MountOverlay: _mount_overlay,
    steps.BindRootfs: _bind_rootfs,
    steps.PivotRoot: _pivot_root,
    steps.SetFinalPropagation: _set_final_propagation,
    steps.SetRootReadonly: _set_root_readonly,
}
