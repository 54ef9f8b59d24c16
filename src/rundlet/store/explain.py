"""What keeps an image, what would go with it, and a plan of what to prune.  Pure but for reading.

Content is freed when nothing reaches it any more:

    name, pin, container ──► image ──► layers, blobs
                 container ──────────► layers          (its snapshot stands on them)
"""

from collections.abc import Iterable
from sqlite3 import Connection
from typing import Literal, NamedTuple

from rundlet.errors import NotFound
from rundlet.store.images import ImageRecord
from rundlet.store.store import Store

ReasonKind = Literal["name", "pinned", "container", "store"]


class Reason(NamedTuple):
    """Why an image stays: `subject` is the name, the container's id or the additional store's root."""

    kind: ReasonKind
    subject: str

    def describe(self) -> str:
        texts = {
            "name": "it is named {}",
            "pinned": "it is pinned{}",
            "container": "container {} uses it",
            "store": "it belongs to the read-only store {}",
        }
        return texts[self.kind].format(self.subject)


class Explanation(NamedTuple):
    """`own_bytes` would be freed with the image, `shared_bytes` are held by others too."""

    image: ImageRecord
    reasons: tuple[Reason, ...]
    own_bytes: int
    shared_bytes: int

    def describe(self) -> str:
        kept = "; ".join(reason.describe() for reason in self.reasons) or "nothing keeps it"
        return f"image {self.image.id}: {kept}; {self.own_bytes} bytes of its own, {self.shared_bytes} shared"


class PruneImage(NamedTuple):
    image_id: str
    names: tuple[str, ...]
    freed_bytes: int

    def describe(self) -> str:
        return f"remove image {' '.join((self.image_id, *self.names))}, {self.freed_bytes} bytes"


class FreeUnfinished(NamedTuple):
    """What pulls that were cut off have brought, and the next would go on with."""

    layers: int
    blobs: int
    freed_bytes: int

    def describe(self) -> str:
        return (
            f"free {self.layers} layers and {self.blobs} blobs of unfinished pulls, {self.freed_bytes} bytes"
        )


PruneStep = PruneImage | FreeUnfinished

# Layers of an image, and its blobs, that no other image and no container reaches.
_OWN_BYTES = (
    "SELECT (SELECT coalesce(sum(size_bytes), 0) FROM layers WHERE id IN"
    " (SELECT layer_id FROM image_layers WHERE image_id = :id)"
    " AND id NOT IN (SELECT layer_id FROM image_layers WHERE image_id != :id)"
    " AND id NOT IN (SELECT layer_id FROM snapshot_layers)"
    " AND id NOT IN (SELECT layer_id FROM borrowed_layers))"
    " + (SELECT coalesce(sum(size_bytes), 0) FROM blobs WHERE digest IN"
    " (SELECT digest FROM image_blobs WHERE image_id = :id)"
    " AND digest NOT IN (SELECT digest FROM image_blobs WHERE image_id != :id)"
    " AND digest NOT IN (SELECT digest FROM borrowed_blobs))"
)
_ALL_BYTES = (
    "SELECT (SELECT coalesce(sum(size_bytes), 0) FROM layers WHERE id IN"
    " (SELECT layer_id FROM image_layers WHERE image_id = :id))"
    " + (SELECT coalesce(sum(size_bytes), 0) FROM blobs WHERE digest IN"
    " (SELECT digest FROM image_blobs WHERE image_id = :id))"
)
_UNREACHED_LAYERS = (
    "FROM layers WHERE id NOT IN (SELECT layer_id FROM image_layers)"
    " AND id NOT IN (SELECT layer_id FROM snapshot_layers)"
)
_UNREACHED_BLOBS = "FROM blobs WHERE digest NOT IN (SELECT digest FROM image_blobs)"
_UNFINISHED = (
    f"SELECT (SELECT count(*) {_UNREACHED_LAYERS}), (SELECT count(*) {_UNREACHED_BLOBS}),"
    f" (SELECT coalesce(sum(size_bytes), 0) {_UNREACHED_LAYERS})"
    f" + (SELECT coalesce(sum(size_bytes), 0) {_UNREACHED_BLOBS})"
)


def explain(store: Store, text: str) -> Explanation:
    """What keeps the image that `text` means.  Raises NotFound, InvalidArgument."""
    image = store.images.find(text)
    if image is None:
        raise NotFound(f"image {text} is not here")
    with store.database.read() as connection:
        return _explain(connection, image)


def explain_all(store: Store) -> list[Explanation]:
    images = store.images.list()
    with store.database.read() as connection:
        return [_explain(connection, image) for image in images]


def plan_prune(explanations: Iterable[Explanation], *, named: bool) -> tuple[PruneImage, ...]:
    """Images that only a name keeps (`named`), or not even that."""
    weak = {"name"} if named else set()
    return tuple(
        PruneImage(each.image.id, each.image.names, each.own_bytes)
        for each in explanations
        if {reason.kind for reason in each.reasons} <= weak
    )


def plan_unfinished(store: Store) -> tuple[FreeUnfinished, ...]:
    with store.database.read() as connection:
        step = FreeUnfinished(*connection.execute(_UNFINISHED).fetchone())
    return (step,) if step.layers or step.blobs else ()


def prune(store: Store, steps: Iterable[PruneStep]) -> None:
    """Carry out a plan.  An image that has got a user meanwhile is left; content under way as well."""
    for step in steps:
        if isinstance(step, FreeUnfinished):
            store.forget_unfinished()
        else:
            store.images.remove_unless_used(step.image_id)
    store.settle()


def _explain(connection: Connection, image: ImageRecord) -> Explanation:
    keys = {"id": image.id}
    own_bytes: int = connection.execute(_OWN_BYTES, keys).fetchone()[0]
    all_bytes: int = connection.execute(_ALL_BYTES, keys).fetchone()[0]
    users = connection.execute("SELECT key FROM snapshots WHERE image_id = ? ORDER BY key", (image.id,))
    lenders = connection.execute("SELECT root FROM borrowed_images WHERE image_id = ?", (image.id,))
    reasons = [Reason("name", name) for name in image.names]
    reasons += [Reason("pinned", "")] if image.pinned else []
    reasons += [Reason("container", key) for (key,) in users]
    reasons += [Reason("store", root) for (root,) in lenders]
    return Explanation(image, tuple(reasons), own_bytes, all_bytes - own_bytes)
