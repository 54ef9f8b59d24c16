"""mount(2), umount2(2), pivot_root(2), open_tree(2), move_mount(2), mount_setattr(2), fsopen(2).

Constants are spelled as in <sys/mount.h> and <linux/mount.h>.  The new calls
exist since Linux 5.2 (open_tree, move_mount, fsopen) and 5.12 (mount_setattr) and have
the same numbers on all architectures that rundlet runs on.
"""

import ctypes
import os
import sys

from rundlet.kernel.libc import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, BLOCKING, encode, os_error, syscall

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_POSIXACL = 1 << 16
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

FSOPEN_CLOEXEC = 1
PROC_SUPER_MAGIC = 0x9FA0
_STATFS_BYTES = 120

FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_MOUNT_SETATTR = 442

_mount = BLOCKING.mount
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2 = BLOCKING.umount2
_umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_fstatfs = BLOCKING.fstatfs
_pivot_root = BLOCKING.pivot_root
_pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2); raises OSError naming `target`."""
    if _mount(encode(source), encode(target), encode(fstype), flags, encode(data)) < 0:
        raise os_error(f"mount {fstype or 'flags'} from {source or 'none'}", target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2); raises OSError naming `target`."""
    if _umount2(encode(target), flags) < 0:
        raise os_error("umount2", target)


def file_system_type(fd: int) -> int:
    """The magic number of the file system that `fd` is on (statfs(2))."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _fstatfs(ctypes.c_int(fd), found) < 0:
        raise os_error("fstatfs")
    return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    if _pivot_root(encode(new_root), encode(put_old)) < 0:
        raise os_error("pivot_root", new_root)


def open_tree(path: str, *, dir_fd: int = AT_FDCWD, recursive: bool = False, nofollow: bool = False) -> int:
    """A detached copy of the mount at `path` as a descriptor (open_tree(2), OPEN_TREE_CLONE).

    An empty `path` means `dir_fd` itself.  With `recursive`, mounts below come along.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    flags |= AT_RECURSIVE if recursive else 0
    flags |= AT_EMPTY_PATH if not path else 0
    flags |= 0x100 if nofollow else 0
    return syscall(_SYS_OPEN_TREE, "open_tree", dir_fd, encode(path), flags, path=path or f"fd {dir_fd}")


def move_mount(tree_fd: int, target_fd: int) -> None:
    """Attach a detached tree on the object that `target_fd` is open on (move_mount(2))."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall(_SYS_MOVE_MOUNT, "move_mount", tree_fd, b"", target_fd, b"", flags)


def mount_setattr(
    fd: int,
    path: str = "",
    *,
    set_attrs: int = 0,
    clear_attrs: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change attributes (MOUNT_ATTR_*) or propagation (MS_SHARED …) of the mount at fd + path (mount_setattr(2)).

    MOUNT_ATTR_IDMAP takes its mapping from the user namespace open on `userns_fd`.
    """
    attr = _MountAttr(set_attrs, clear_attrs, propagation, userns_fd)
    flags = (AT_RECURSIVE if recursive else 0) | (AT_EMPTY_PATH if not path else 0)
    syscall(
        _SYS_MOUNT_SETATTR,
        "mount_setattr",
        fd,
        encode(path),
        flags,
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
        path=path or None,
    )


def fsopen(fstype: str) -> int:
    """A file system context to be configured (fsopen(2)); the caller closes it."""
    return syscall(_SYS_FSOPEN, "fsopen", encode(fstype), FSOPEN_CLOEXEC, path=fstype)


def fsconfig(
    fs_fd: int, command: int, key: str | None = None, value: str | None = None, aux: int = 0
) -> None:
    """One option, or FSCONFIG_CMD_CREATE (fsconfig(2)); OSError names the option and what the kernel says of it."""
    try:
        syscall(_SYS_FSCONFIG, "fsconfig", fs_fd, command, encode(key), encode(value), aux, path=key)
    except OSError as error:
        said = _read_complaint(fs_fd)
        raise OSError(error.errno, error.strerror, ": ".join(filter(None, (key, said)))) from error


def _read_complaint(fs_fd: int) -> str:
    """The last message that the context keeps ("e " for an error before the text)."""
    try:
        return os.read(fs_fd, 1024).decode(errors="replace").strip()[2:]
    except OSError:
        return ""


def fsmount(fs_fd: int, attrs: int = 0) -> int:
    """A detached mount of a created context (fsmount(2)), as an O_PATH descriptor of its root."""
    return syscall(_SYS_FSMOUNT, "fsmount", fs_fd, FSMOUNT_CLOEXEC, attrs)
