"""Does the steps of `rundlet.plan.steps`, in a process that is to become a container.

Everything here runs in the new process, single-threaded, with the host's /proc
and /dev still in sight until pivot_root.  Nothing is decided here.
"""

import os
import stat
from collections.abc import Callable
from typing import Any

from rundlet.kernel import mount as m
from rundlet.kernel import namespace
from rundlet.plan import steps
from rundlet.runtime.paths import is_directory, open_mountpoint, open_parent, open_path
from rundlet.runtime.terminal import Terminal, open_terminal

_OVERLAY_OPTIONS_MAX = 4000  # one page less the terminator and what mount(2) may add
_PROPAGATIONS = {
    "private": m.MS_PRIVATE,
    "slave": m.MS_SLAVE,
    "shared": m.MS_SHARED,
    "unbindable": m.MS_UNBINDABLE,
}


class Context:
    """What steps hand to later steps: the rootfs by descriptor, the terminal."""

    __slots__ = ("is_shared", "root_fd", "terminal")

    def __init__(self) -> None:
        self.root_fd = -1
        self.is_shared = False
        self.terminal: Terminal | None = None


def execute(step: steps.Step, context: Context) -> None:
    """Do one step; OSError when the kernel refuses."""
    _EXECUTORS[type(step)](step, context)


def _join_cgroup(step: steps.JoinCgroup, _: Context) -> None:
    for path in step.files:
        _write(path, "0")


def _join_namespace(step: steps.JoinNamespace, _: Context) -> None:
    namespace.join(step.path, namespace.KINDS[step.kind].flag)


def _unshare(step: steps.Unshare, _: Context) -> None:
    namespace.unshare(namespace.KINDS[step.kind].flag)


def _set_hostname(step: steps.SetHostname, _: Context) -> None:
    namespace.set_hostname(step.name)


def _set_domainname(step: steps.SetDomainname, _: Context) -> None:
    namespace.set_domainname(step.name)


def sysctl_path(name: str) -> str:
    """/proc/sys/net/ipv4/ip_forward for net.ipv4.ip_forward; slashes stay as they are."""
    return f"/proc/sys/{name if '/' in name else name.replace('.', '/')}"


def _write_sysctl(step: steps.WriteSysctl, _: Context) -> None:
    _write(sysctl_path(step.name), step.value)


def _set_oom_score(step: steps.SetOomScore, _: Context) -> None:
    _write("/proc/self/oom_score_adj", str(step.value))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _propagation_flags(name: str) -> tuple[int, bool]:
    """(MS_*, recursive) of "rslave" and its kin."""
    recursive = name not in _PROPAGATIONS
    return _PROPAGATIONS[name[1:] if recursive else name], recursive


def _set_root_propagation(step: steps.SetRootPropagation, context: Context) -> None:
    flags, recursive = _propagation_flags(step.propagation)
    context.is_shared = flags == m.MS_SHARED
    m.mount(None, "/", None, flags | (m.MS_REC if recursive else 0))


def _mount_overlay(step: steps.MountOverlay, context: Context) -> None:
    """With many layers the names are made relative, since the kernel takes one page of options."""
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
    return f"lowerdir={lowers},upperdir={_escape(step.upper)},workdir={_escape(step.work)}"


def _escape(path: str) -> str:
    """overlayfs splits its options at commas and colons."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _bind_rootfs(step: steps.BindRootfs, context: Context) -> None:
    if context.is_shared:
        _isolate_parent(step.rootfs)
    m.mount(step.source, step.rootfs, None, m.MS_BIND | m.MS_REC)
    m.mount(None, step.rootfs, None, m.MS_PRIVATE)
    context.root_fd = os.open(step.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


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


def _mount(step: steps.Mount, context: Context) -> None:
    fd = open_mountpoint(context.root_fd, step.target, directory=True)
    try:
        m.mount(step.source, f"/proc/self/fd/{fd}", step.fstype, step.flags, step.data or None)
    except OSError as error:
        error.filename = step.target
        raise
    finally:
        os.close(fd)
    if step.propagation:
        _set_propagation(context.root_fd, step.target, step.propagation)


def _set_propagation(root_fd: int, target: str, propagation: str) -> None:
    flags, recursive = _propagation_flags(propagation)
    fd = open_path(root_fd, target)
    try:
        m.mount_setattr(fd, propagation=flags, recursive=recursive)
    finally:
        os.close(fd)


def _bind(step: steps.Bind, context: Context) -> None:
    tree = m.open_tree(step.source, recursive=step.recursive)
    try:
        if step.set_attrs or step.clear_attrs:
            m.mount_setattr(
                tree, set_attrs=step.set_attrs, clear_attrs=step.clear_attrs, recursive=step.whole_tree
            )
        if step.propagation:
            flags, recursive = _propagation_flags(step.propagation)
            m.mount_setattr(tree, propagation=flags, recursive=recursive)
        target = open_mountpoint(context.root_fd, step.target, directory=is_directory(tree))
        try:
            m.move_mount(tree, target)
        finally:
            os.close(target)
    finally:
        os.close(tree)


_KINDS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def _make_device(step: steps.MakeDevice, context: Context) -> None:
    parent, name = open_parent(context.root_fd, step.target)
    try:
        os.mknod(name, _KINDS[step.kind] | step.mode, os.makedev(step.major, step.minor), dir_fd=parent)
        if step.uid or step.gid:
            os.chown(name, step.uid, step.gid, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if found.st_rdev != os.makedev(step.major, step.minor):
            raise
    finally:
        os.close(parent)


def _make_symlink(step: steps.MakeSymlink, context: Context) -> None:
    parent, name = open_parent(context.root_fd, step.target)
    try:
        os.symlink(step.points_to, name, dir_fd=parent)
    except FileExistsError:
        pass
    finally:
        os.close(parent)


def _open_terminal(step: steps.OpenTerminal, context: Context) -> None:
    context.terminal = open_terminal(context.root_fd, step.height, step.width, step.uid)
    tree = m.open_tree(f"/proc/self/fd/{context.terminal.slave}")
    target = open_mountpoint(context.root_fd, "/dev/console", directory=False)
    m.move_mount(tree, target)
    os.close(tree)
    os.close(target)


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


def _set_root_readonly(_: steps.SetRootReadonly, context: Context) -> None:
    m.mount_setattr(context.root_fd, set_attrs=m.MOUNT_ATTR_RDONLY)


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
        m.mount("tmpfs", f"/proc/self/fd/{fd}", "tmpfs", m.MS_RDONLY, "size=0k,mode=000")
    else:
        tree = m.open_tree("/dev/null")
        m.move_mount(tree, fd)
        os.close(tree)
    os.close(fd)


_EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    steps.JoinCgroup: _join_cgroup,
    steps.JoinNamespace: _join_namespace,
    steps.Unshare: _unshare,
    steps.SetHostname: _set_hostname,
    steps.SetDomainname: _set_domainname,
    steps.WriteSysctl: _write_sysctl,
    steps.SetRootPropagation: _set_root_propagation,
    steps.MountOverlay: _mount_overlay,
    steps.BindRootfs: _bind_rootfs,
    steps.Mount: _mount,
    steps.Bind: _bind,
    steps.MakeDevice: _make_device,
    steps.MakeSymlink: _make_symlink,
    steps.OpenTerminal: _open_terminal,
    steps.PivotRoot: _pivot_root,
    steps.SetRootReadonly: _set_root_readonly,
    steps.MaskPath: _mask_path,
    steps.SetReadonly: _set_readonly,
    steps.SetOomScore: _set_oom_score,
}
