"""From findings to a plan: what mends each fault with the least that is lost.

    1  rows that point nowhere go, notes are written anew, references are counted anew
    2  content that the database does not know is taken in when it is what it says, else removed
    3  a blob comes again from where it came from
    4  a layer is unpacked again from its blob

What cannot be mended (`plan_losses`, for what a check still finds after that) is let go: the
blob's row, and the image whose layer or document is lost.  Nothing else is touched.
"""

from collections.abc import Callable, Iterable, Sequence
from sqlite3 import Connection
from typing import Any, Final, NamedTuple, get_args

from rundlet.store.findings import Finding, Kind
from rundlet.store.store import Store


class RebuildDatabase(NamedTuple):
    path: str

    def describe(self) -> str:
        return f"make {self.path} anew: from what can be read of it, notes, layers, blobs and snapshots"


class DropDanglingRows(NamedTuple):
    table: str

    def describe(self) -> str:
        return f"drop the rows of {self.table} that point nowhere"


class DropName(NamedTuple):
    name: str

    def describe(self) -> str:
        return f"drop the name {self.name}, which means no image"


class CountReferences(NamedTuple):
    image_id: str

    def describe(self) -> str:
        return f"count what image {self.image_id} uses anew, by its manifest and config"


class WriteImageNote(NamedTuple):
    image_id: str

    def describe(self) -> str:
        return f"write the note of image {self.image_id} anew"


class WriteLayerNote(NamedTuple):
    layer_id: int

    def describe(self) -> str:
        return f"write the note of layer {self.layer_id} anew"


class WriteSnapshotNote(NamedTuple):
    key: str

    def describe(self) -> str:
        return f"write the note of snapshot {self.key} anew"


class MakeSnapshotDirectories(NamedTuple):
    key: str

    def describe(self) -> str:
        return f"make the missing directories of snapshot {self.key}; what they held is lost"


class AdoptBlob(NamedTuple):
    digest: str

    def describe(self) -> str:
        return f"take in blob {self.digest} if it is what it is called, else remove it"


class AdoptLayer(NamedTuple):
    path: str

    def describe(self) -> str:
        return f"take in layer {self.path} if it is whole, else remove it"


class Remove(NamedTuple):
    path: str

    def describe(self) -> str:
        return f"remove {self.path}"


class FetchBlob(NamedTuple):
    """`sources` are "repository@digest" of the images that use it, "" when nothing says where it came from."""

    digest: str
    sources: tuple[str, ...]

    def describe(self) -> str:
        return f"fetch blob {self.digest} again from {' or '.join(self.sources) or 'nowhere: no source is known'}"


class UnpackLayer(NamedTuple):
    """`sources` as in `FetchBlob`."""

    layer_id: int
    blob_digest: str
    sources: tuple[str, ...]

    def describe(self) -> str:
        return f"unpack layer {self.layer_id} again from blob {self.blob_digest}, fetched again if it is not whole"


class ForgetBlob(NamedTuple):
    digest: str

    def describe(self) -> str:
        return f"forget blob {self.digest}, which cannot be had again; what was unpacked from it stays"


class DropImage(NamedTuple):
    image_id: str
    why: str

    def describe(self) -> str:
        return f"drop image {self.image_id}: {self.why}"


Step = (
    RebuildDatabase
    | DropDanglingRows
    | DropName
    | CountReferences
    | WriteImageNote
    | WriteLayerNote
    | WriteSnapshotNote
    | MakeSnapshotDirectories
    | AdoptBlob
    | AdoptLayer
    | Remove
    | FetchBlob
    | UnpackLayer
    | ForgetBlob
    | DropImage
)


class Facts(NamedTuple):
    """What a plan needs to know of the store besides the findings; digests and ids as text.

    `sources` of each blob, `layer_sources` of each layer's; `layer_blobs`: the blob of each layer;
    `layer_images` and `document_images`: which images stand on a layer, or are described by a blob.
    """

    sources: dict[str, tuple[str, ...]]
    layer_blobs: dict[int, str]
    layer_sources: dict[int, tuple[str, ...]]
    layer_images: dict[int, tuple[str, ...]]
    document_images: dict[str, tuple[str, ...]]
    borrowed_images: dict[str, str]


def gather_facts(store: Store) -> Facts:
    with store.database.read() as connection:
        return Facts(
            _group(
                connection, "SELECT digest, reference FROM image_blobs JOIN image_digests USING (image_id)"
            ),
            dict(connection.execute("SELECT id, blob_digest FROM layers").fetchall()),
            _group(
                connection, "SELECT layer_id, reference FROM image_layers JOIN image_digests USING (image_id)"
            ),
            _group(connection, "SELECT layer_id, image_id FROM image_layers"),
            _group(connection, "SELECT id, id FROM images UNION SELECT manifest_digest, id FROM images"),
            dict(connection.execute("SELECT image_id, root FROM borrowed_images").fetchall()),
        )


def _group(connection: Connection, query: str) -> dict[Any, tuple[str, ...]]:
    """The second column's values by the first's."""
    found: dict[Any, tuple[str, ...]] = {}
    for key, value in connection.execute(query):
        found[key] = (*found.get(key, ()), value)
    return found


def plan_database(findings: Iterable[Finding]) -> tuple[Step, ...]:
    """What has to be done before anything else can be told."""
    lost = [each for each in findings if each.kind in {"database-lost", "database-damaged"}]
    return (RebuildDatabase(lost[0].subject),) if lost else ()


def plan_repair(findings: Sequence[Finding], facts: Facts) -> tuple[Step, ...]:
    """Steps in the order in which they help each other: rows, strays, blobs, layers, snapshots."""
    steps = [step for finding in findings for step in _mend(finding, facts)]
    order = get_args(Step)
    return tuple(sorted(dict.fromkeys(steps), key=lambda step: order.index(type(step))))


def _mend(finding: Finding, facts: Facts) -> tuple[Step, ...]:
    simple = _SIMPLE.get(finding.kind)
    if simple is not None:
        return (simple(finding.subject),)
    return _WITH_FACTS[finding.kind](finding, facts)


def _mend_snapshot(finding: Finding, _: Facts) -> tuple[Step, ...]:
    return (MakeSnapshotDirectories(finding.subject), WriteSnapshotNote(finding.subject))


def _mend_blob(finding: Finding, facts: Facts) -> tuple[Step, ...]:
    return (FetchBlob(finding.subject, facts.sources.get(finding.subject, ())),)


def _mend_layer(finding: Finding, facts: Facts) -> tuple[Step, ...]:
    layer_id = int(finding.subject)
    return (UnpackLayer(layer_id, facts.layer_blobs[layer_id], facts.layer_sources.get(layer_id, ())),)


def _mend_borrowed(finding: Finding, facts: Facts) -> tuple[Step, ...]:
    lender = finding.detail
    users = [image_id for image_id, root in facts.borrowed_images.items() if root == lender]
    return tuple(DropImage(each, f"{lender} does not have all of it any more") for each in users)


_SIMPLE: Final[dict[Kind, Callable[[str], Step]]] = {
    "database-lost": RebuildDatabase,
    "database-damaged": RebuildDatabase,
    "dangling-row": DropDanglingRows,
    "name-nowhere": DropName,
    "references-wrong": CountReferences,
    "image-note": WriteImageNote,
    "layer-note": lambda subject: WriteLayerNote(int(subject)),
    "snapshot-note": WriteSnapshotNote,
    "blob-stray": AdoptBlob,
    "layer-stray": AdoptLayer,
    "layer-half-made": Remove,
    "snapshot-stray": Remove,
    "stray-file": Remove,
}
_WITH_FACTS: Final[dict[Kind, Callable[[Finding, Facts], tuple[Step, ...]]]] = {
    "snapshot-missing": _mend_snapshot,
    "blob-missing": _mend_blob,
    "blob-altered": _mend_blob,
    "layer-missing": _mend_layer,
    "layer-changed": _mend_layer,
    "layer-unlisted": _mend_layer,
    "borrowed-missing": _mend_borrowed,
    "lower-missing": lambda _finding, _facts: (),  # the layer's own finding mends it
}


def plan_losses(findings: Sequence[Finding], facts: Facts) -> tuple[Step, ...]:
    """What to let go of, since it is still wrong after `plan_repair` has been carried out."""
    steps: list[Step] = []
    for finding in findings:
        if finding.kind in {"blob-missing", "blob-altered"}:
            images = facts.document_images.get(finding.subject, ())
            steps += [DropImage(each, f"its document {finding.subject} is lost") for each in images]
            steps.append(ForgetBlob(finding.subject))
        elif finding.kind in {"layer-missing", "layer-changed", "layer-unlisted"}:
            layer_id = int(finding.subject)
            images = facts.layer_images.get(layer_id, ())
            steps += [DropImage(each, f"its layer {layer_id} is lost") for each in images]
        elif finding.kind == "references-wrong":
            steps.append(DropImage(finding.subject, "it lacks a layer, which cannot be had again"))
    return tuple(dict.fromkeys(steps))
