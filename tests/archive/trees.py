"""Tars made by the standard library, and directory trees as comparable values."""

import hashlib
import io
import os
import stat
import tarfile

EPOCH_S = 1_700_000_000


def member(name, data=None, *, type=None, mode=0o644, pax=None, mtime=EPOCH_S, **attributes):
    """One (TarInfo, content); `attributes` are TarInfo's: uid, gid, linkname, devmajor …"""
    info = tarfile.TarInfo(name)
    info.type = type or tarfile.REGTYPE
    info.mode = mode
    info.mtime = mtime
    info.size = len(data or b"")
    info.pax_headers = pax or {}
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data or b""


def directory(name, mode=0o755, **attributes):
    return member(name, type=tarfile.DIRTYPE, mode=mode, **attributes)


def symlink(name, target, **attributes):
    return member(name, type=tarfile.SYMTYPE, mode=0o777, linkname=target, **attributes)


def hardlink(name, target):
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def make_tar(*members, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def describe(root, *, times=True):
    """{path: what lstat and the content say} of all below `root`; paths are bytes."""
    root = os.fsencode(root)
    links = {}
    found = {}
    for base, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(base, name)
            found[os.path.relpath(path, root)] = describe_one(path, links, times)
    return found


def describe_one(path, links, times):
    status = os.lstat(path)
    facts = {
        "mode": oct(status.st_mode),
        "owner": (status.st_uid, status.st_gid),
        "xattrs": {key: os.getxattr(path, key, follow_symlinks=False) for key in list_xattrs(path)},
    }
    if times:
        facts["mtime_ns"] = status.st_mtime_ns
    if stat.S_ISLNK(status.st_mode):
        facts["target"] = os.readlink(path)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        facts["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            facts["content"] = hashlib.sha256(file.read()).hexdigest()
        # the first path met of a file with several links stands for all of them
        facts["same_as"] = (
            links.setdefault(status.st_ino, os.path.basename(path)) if status.st_nlink > 1 else ""
        )
    return facts


def list_xattrs(path):
    return sorted(os.listxattr(path, follow_symlinks=False))
