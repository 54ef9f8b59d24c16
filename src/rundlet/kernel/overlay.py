"""overlayfs's own marks, which depend on who mounts it (Documentation/filesystems/overlayfs.rst).

                        first user namespace        below it
marks in xattrs         trusted.overlay.*           user.overlay.*
option of the mount     none                        userxattr
"""

from functools import cache

from rundlet.kernel.namespace import in_user_namespace

PREFIXES = ("trusted.overlay.", "user.overlay.")


@cache
def mark_prefix() -> str:
    """Of this process; `forget` when it has gone into another user namespace."""
    return PREFIXES[in_user_namespace()]


def opaque_xattr() -> str:
    """With the value "y" on a directory: nothing below shows through."""
    return f"{mark_prefix()}opaque"


def marking_option() -> str:
    """ ",userxattr" to append to the options of a mount, or nothing."""
    return ",userxattr" if mark_prefix() == PREFIXES[1] else ""


def forget() -> None:
    mark_prefix.cache_clear()
