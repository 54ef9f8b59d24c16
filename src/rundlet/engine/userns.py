"""Layers and volumes of pods that have a user namespace of their own."""

from typing import NamedTuple

from rundlet.archive.shift import Shift
from rundlet.engine.idmap import choose_data
from rundlet.engine.options import PodOptions
from rundlet.engine.parts import Parts
from rundlet.plan.steps import IdMap
from rundlet.step import step
from rundlet.store.shifted import ShiftedStack
from rundlet.store.snapshots import Snapshot


class Owners(NamedTuple):
    """Whose a container's files are on the host.

    `shift` is None without a user namespace, `stack` when the layers are seen as they are, or through the mapping.
    """

    shift: Shift | None = None
    stack: ShiftedStack | None = None

    def root(self) -> tuple[int, int]:
        """The owner of what is made for the container's root in its root file system."""
        return self.shift.owner(0, 0) if self.shift and self.stack else (0, 0)


def choose_mappings(options: PodOptions) -> tuple[IdMap, IdMap] | None:
    """(users, groups) of the pod's own user namespace; None when it has the node's."""
    namespaces = options.security.namespaces
    if namespaces.user != "pod":
        return None
    uids, gids = (
        tuple((item.container_id, item.host_id, item.length) for item in mappings)
        for mappings in (namespaces.uid_mappings, namespaces.gid_mappings)
    )
    return uids, gids


def choose_owners(parts: Parts, options: PodOptions, snapshot: Snapshot) -> Owners:
    """For a new snapshot in that pod; layers with other owners are made where the layers will not do."""
    mappings = choose_mappings(options)
    if mappings is None:
        return Owners()
    shift = Shift(*mappings)
    return Owners(shift, None if parts.handlers.uses_idmap() else shift_layers(parts, shift, snapshot))


def shift_layers(parts: Parts, shift: Shift, snapshot: Snapshot) -> ShiftedStack:
    """The snapshot's layers with the owners that they have in a user namespace."""
    shifted = parts.store.shifted
    wanted = parts.settings.userns_rootfs
    data = choose_data(wanted, metacopy=shifted.can_refer(), layers=len(snapshot.lower))
    with step("container.shift", snapshot.key):
        return shifted.prepare(snapshot, shift, data)
