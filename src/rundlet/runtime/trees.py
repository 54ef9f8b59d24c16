"""What a plan needs of the host's paths, opened as detached mounts while those paths can be seen.

A process that is going to lose sight of them, or the rights on them, takes these along
(`Context.trees`): the rootfs and every bind, in the order of the plan's steps.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from rundlet.errors import Unimplemented
from rundlet.kernel import capability, setfsuid
from rundlet.kernel import mount as m
from rundlet.plan.steps import Bind, BindRootfs, IdMap, MountOverlay, SetRootPropagation, Step, map_id
from rundlet.runtime.context import refusal
from rundlet.runtime.mounts import map_ids, open_bind, set_tree_propagation


class User(NamedTuple):
    """The container's user namespace as its helper has it."""

    fd: int
    uid_map: IdMap
    gid_map: IdMap


def open_trees(steps: Iterable[Step], user: User | None = None) -> list[int]:
    """Descriptors of detached mounts; FailedPrecondition names the step whose path cannot be opened."""
    trees = []
    inherited = "rslave"
    for step in steps:
        try:
            if isinstance(step, SetRootPropagation):
                inherited = step.propagation
            elif isinstance(step, Bind):
                trees.append(open_bind(step, user.fd if user else -1, inherited))
            elif isinstance(step, BindRootfs):
                trees.append(_open_rootfs(step, inherited))
            elif isinstance(step, MountOverlay):
                trees.append(_open_mapped_overlay(step, user) if user else _open_overlay(step))
        except OSError as error:
            raise refusal(step, error) from error
    return trees


def _open_rootfs(step: BindRootfs, inherited: str) -> int:
    tree = m.open_tree(step.source, recursive=True)
    set_tree_propagation(tree, inherited)
    m.mount_setattr(tree, propagation=m.MS_SLAVE if step.slave else m.MS_PRIVATE)  # pivot_root(2): not shared
    return tree


def _open_overlay(step: MountOverlay) -> int:
    layers = [("lowerdir+", path) for path in step.lower]
    parts = [
        (key, os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        for key, path in (*layers, ("upperdir", step.upper), ("workdir", step.work))
    ]
    context = configure_overlay(parts, step.label)
    m.fsconfig(context, m.FSCONFIG_CMD_CREATE)
    return _finish_overlay(context, parts)


def configure_overlay(parts: Iterable[tuple[str, int]], label: str = "") -> int:
    """An overlay of directories by descriptor (Linux 6.13), before FSCONFIG_CMD_CREATE."""
    context = m.fsopen("overlay")
    for key, fd in parts:
        m.fsconfig(context, m.FSCONFIG_SET_FD, key, aux=fd)
    if label:
        m.fsconfig(context, m.FSCONFIG_SET_STRING, "context", label)
    return context


def _finish_overlay(context: int, parts: Iterable[tuple[str, int]]) -> int:
    tree = m.fsmount(context)
    for fd in (context, *(fd for _, fd in parts)):  # a detached mount lives as long as its descriptor
        os.close(fd)
    return tree


def _open_mapped_overlay(step: MountOverlay, user: User) -> int:
    """A detached overlay of idmapped layers.

    The layers on disk keep the ids that they have without a user namespace.
    Files are made by ids that the mapping knows, or overlayfs gives up writing:
    hence the file owner set around the mount, whose credentials overlayfs keeps.
    """
    if not step.idmap:
        raise Unimplemented(f"{step.describe()}: without idmapped layers in a user namespace")
    base = os.path.dirname(step.upper)
    top = _open_mapped(base, user.fd)
    upper = os.open(os.path.relpath(step.upper, base), os.O_PATH | os.O_CLOEXEC, dir_fd=top)
    work = os.open(os.path.relpath(step.work, base), os.O_PATH | os.O_CLOEXEC, dir_fd=top)
    layers = [("lowerdir+", _open_mapped(path, user.fd)) for path in step.lower]
    parts = (*layers, ("upperdir", upper), ("workdir", work))
    context = configure_overlay(parts, step.label)
    sets = capability.read_sets()
    setfsuid.set_file_owner(max(map_id(user.uid_map, 0), 0), max(map_id(user.gid_map, 0), 0))
    capability.set_sets(sets["permitted"], sets["permitted"], sets["inheritable"])
    try:
        m.fsconfig(context, m.FSCONFIG_CMD_CREATE)
    finally:
        setfsuid.set_file_owner(0, 0)
    tree = _finish_overlay(context, parts)
    os.close(top)
    return tree


def _open_mapped(path: str, userns_fd: int) -> int:
    tree = m.open_tree(path)
    map_ids(tree, userns_fd, path)
    return tree
