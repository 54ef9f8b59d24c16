"""What can be wrong with a store: a value for each thing that a check has found."""

from typing import Final, Literal, NamedTuple

Kind = Literal[
    "database-lost",
    "database-damaged",
    "dangling-row",
    "name-nowhere",
    "references-wrong",
    "blob-missing",
    "blob-altered",
    "blob-stray",
    "layer-missing",
    "layer-changed",
    "layer-unlisted",
    "layer-note",
    "layer-half-made",
    "layer-stray",
    "lower-missing",
    "image-note",
    "snapshot-missing",
    "snapshot-stray",
    "snapshot-note",
    "borrowed-missing",
    "stray-file",
]

# What each kind means; the subject stands in front of it.
SENTENCES: Final[dict[Kind, str]] = {
    "database-lost": "the database is lost, though there is content",
    "database-damaged": "the database is damaged",
    "dangling-row": "rows of this table point at what is not there",
    "name-nowhere": "this name means no image",
    "references-wrong": "what the image uses is not what is counted for it",
    "blob-missing": "the blob's file is missing",
    "blob-altered": "the blob is not what its digest says",
    "blob-stray": "a blob that the database does not know",
    "layer-missing": "the layer's directory is missing",
    "layer-changed": "the layer's directory is not as it was unpacked",
    "layer-unlisted": "nothing tells what the layer's directory held",
    "layer-note": "the layer's note is missing or wrong",
    "layer-half-made": "a layer that was not unpacked to its end, or not removed to its end",
    "layer-stray": "a layer that the database does not know",
    "lower-missing": "a layer that the snapshot stands on is gone",
    "image-note": "the image's note is missing or wrong",
    "snapshot-missing": "the snapshot's directory is missing or incomplete",
    "snapshot-stray": "a snapshot that the database does not know",
    "snapshot-note": "the snapshot's note is missing or wrong",
    "borrowed-missing": "the additional store does not have this any more",
    "stray-file": "nothing of the store has this name",
}


class Finding(NamedTuple):
    """One fault.  `subject` is a digest, a layer's row id, an image id, a snapshot's key, a table or a path."""

    kind: Kind
    subject: str
    detail: str = ""

    def describe(self) -> str:
        text = f"{self.kind} {self.subject}: {SENTENCES[self.kind]}"
        return f"{text} ({self.detail})" if self.detail else text
