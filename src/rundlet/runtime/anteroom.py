"""A mount namespace with next to nothing in it, where containers begin.

A new mount namespace is a copy of its maker's, mount by mount, and what a container does not need of it
is taken down again: with 500 pods, of four mounts each, that is 5 ms a container.  So the nursery keeps
a namespace that holds

    /        an empty read-only tmpfs
    /proc    the host's two, without what is mounted
    /dev     on them

and a new process copies that one, and brings along what its plan needs of the host's paths:

    new process, on the host's mounts            in its own copy of the anteroom
    joins namespaces by their paths
    opens rootfs and binds as trees  ─────────▶  setns, unshare, the plan's steps with those trees

What does not fit (hooks that look at the host's files, file systems on the host's devices) begins on a
copy of the host's mounts, as everything does where the kernel cannot do this (before Linux 6.13).
"""

import os

from rundlet.kernel import mount as m
from rundlet.kernel import namespace
from rundlet.plan import steps
from rundlet.plan.container import ContainerPlan
from rundlet.runtime.context import Context
from rundlet.runtime.trees import configure_overlay, open_trees

_BROUGHT = ("/proc", "/dev")
_OWN_FILE_SYSTEMS = frozenset(("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"))


def make_anteroom() -> int:
    """Its descriptor; -1 where there can be none.  This process, of one thread, is where it was afterwards."""
    if namespace.in_user_namespace() or not _takes_layers():
        return -1
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    trees = [m.open_tree(path) for path in _BROUGHT]
    namespace.unshare(namespace.CLONE_NEWNS)
    try:
        _furnish(trees)
        return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        namespace.setns(home, namespace.CLONE_NEWNS)
        os.fchdir(root)
        os.chroot(".")
        for fd in (home, root, *trees):
            os.close(fd)


def _takes_layers() -> bool:
    """Whether overlayfs takes its layers by descriptor."""
    layer = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(configure_overlay([("lowerdir+", layer)]))
    except OSError:
        return False
    finally:
        os.close(layer)
    return True


def _furnish(trees: list[int]) -> None:
    m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    m.mount("anteroom", "/proc", "tmpfs", m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC, "mode=755")
    os.chdir("/proc")
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    for path, tree in zip(_BROUGHT, trees, strict=True):
        m.mount_setattr(tree, propagation=m.MS_PRIVATE)
        os.mkdir(path)
        place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        m.move_mount(tree, place)
        os.close(place)
    m.mount(None, "/", None, m.MS_REMOUNT | m.MS_BIND | m.MS_RDONLY)


def fits(plan: ContainerPlan) -> bool:
    """Whether all that the plan needs of the host can be brought along."""
    return plan.hooks is None and plan.process.listener is None and all(map(_fits, plan.setup))


def _fits(step: steps.Step) -> bool:
    if isinstance(step, steps.Mount):
        return step.fstype in _OWN_FILE_SYSTEMS
    return not (isinstance(step, steps.MountOverlay) and step.userxattr)


def enter_anteroom(anteroom: int, plan: ContainerPlan, context: Context) -> None:
    """Go into a copy of it, with the plan's trees in hand; FailedPrecondition names the step that has none."""
    context.trees = open_trees(plan.setup)
    namespace.setns(anteroom, namespace.CLONE_NEWNS)
    namespace.unshare(namespace.CLONE_NEWNS)
    os.close(anteroom)
