"""A container's files as a new image: its image's layers, and what it has changed as one more."""

from contextlib import closing

from rundlet.archive.treetar import pack_tree
from rundlet.errors import NotFound
from rundlet.image.build import with_history
from rundlet.image.change import Change
from rundlet.image.location import Location
from rundlet.image.mutate import read_base, write_image
from rundlet.image.packing import pack_layer
from rundlet.image.place import Host, open_destination, open_source
from rundlet.image.storage import find_image
from rundlet.local.settings import Places


def commit_files(
    places: Places,
    container_id: str,
    image_id: str,
    name: str,
    change: Change = Change(),  # noqa: B008 - immutable
) -> str:
    """The id of the image, which has `name` then ("": none but its digest's); `image_id` is the container's.

    What programs write meanwhile may be half there: pause or stop the container before, where that matters.
    Volumes and file systems in memory are no part of it.  Raises NotFound when there is no such container.
    """
    with Host(places.root, places.run_root, insecure_policy=True) as host:
        snapshot = host.store.snapshots.find(container_id)
        if snapshot is None:
            raise NotFound(f"container {container_id} has no files")
        source = open_source(host, Location("containers-storage", name=image_id))
        destination = open_destination(host, Location("containers-storage", name=name))
        upper = snapshot.upper
        with closing(source), pack_layer(lambda out: pack_tree(upper, out), host.temporary) as layer:
            write_image(
                read_base(source), source, destination, with_history(change, "rundlet commit"), [layer]
            )
        return find_image(host.store, name).id
