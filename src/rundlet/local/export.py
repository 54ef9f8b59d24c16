"""A container's files as one tar: its own changes over the layers of its image."""

import tempfile

from rundlet.archive.pack import Writable
from rundlet.archive.treetar import pack_tree
from rundlet.kernel import mount as kernel
from rundlet.kernel.failure import translating
from rundlet.kernel.overlay import marking_option
from rundlet.store.snapshots import Snapshot


def export_files(snapshot: Snapshot, out: Writable) -> None:
    """Volumes and file systems in memory are no part of it; what programs write meanwhile may be half there."""
    lower = ":".join((snapshot.upper, *snapshot.lower))
    with tempfile.TemporaryDirectory(prefix="rundlet-export-") as directory:
        with translating(f"mount the files of {snapshot.key} to export them"):
            kernel.mount(
                "overlay", directory, "overlay", kernel.MS_RDONLY, f"lowerdir={lower}{marking_option()}"
            )
        try:
            pack_tree(directory, out)
        finally:
            kernel.umount(directory)
