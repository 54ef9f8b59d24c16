"""Steps below /dev: device nodes, links, the terminal."""

import os
import stat
from collections.abc import Callable
from typing import Any

from rundlet.errors import FailedPrecondition
from rundlet.kernel import mount as m
from rundlet.plan import steps
from rundlet.runtime.context import Context
from rundlet.runtime.mounts import keep_proc
from rundlet.runtime.paths import open_mountpoint, open_parent
from rundlet.runtime.terminal import open_terminal

_KINDS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def _make_device(step: steps.MakeDevice, context: Context) -> None:
    parent, name = open_parent(context.root_fd, step.target)
    try:
        os.mknod(name, _KINDS[step.kind] | step.mode, os.makedev(step.major, step.minor), dir_fd=parent)
        if step.uid or step.gid:
            os.chown(name, step.uid, step.gid, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        if not _is_device(os.stat(name, dir_fd=parent, follow_symlinks=False), step):
            raise
    except PermissionError:
        _bind_device(step, context)
    finally:
        os.close(parent)


def _is_device(found: os.stat_result, step: steps.MakeDevice) -> bool:
    same_kind = stat.S_IFMT(found.st_mode) == _KINDS[step.kind]
    return same_kind and (step.kind == "p" or found.st_rdev == os.makedev(step.major, step.minor))


def _bind_device(step: steps.MakeDevice, context: Context) -> None:
    """No device can be made in a user namespace: the host's own of that name and number is bound there."""
    tree = m.open_tree(step.target)
    try:
        if not _is_device(os.fstat(tree), step):
            raise FailedPrecondition(
                f"{step.describe()}: it cannot be made here, and the host's own is another device"
            )
        target = open_mountpoint(context.root_fd, step.target, directory=False)
        keep_proc(step, target, context)
        m.move_mount(tree, target)
        os.close(target)
    finally:
        os.close(tree)


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
    keep_proc(step, target, context)
    m.move_mount(tree, target)
    os.close(tree)
    os.close(target)


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    steps.MakeDevice: _make_device,
    steps.MakeSymlink: _make_symlink,
    steps.OpenTerminal: _open_terminal,
}
