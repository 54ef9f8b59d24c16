"""That an entry is in a log's Merkle tree, and that the log signed the tree's root (RFC 6962, RFC 9162).

hash of an entry    SHA-256(0x00 ‖ entry)              hash of a node    SHA-256(0x01 ‖ left ‖ right)

checkpoint (a signed note)
    rekor.example - 123                         the log's name
    9                                           the tree's size
    base64 of the root
    …                                           more lines, perhaps
    (empty)
    — rekor.example base64(4 bytes that hint at the key ‖ signature over all lines before the empty one)
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.spec.base64 import decode_base64

_WHAT: Final = "inclusion proof"
_HINT_LENGTH: Final = 4


def find_root(entry: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` entries that has `entry` at `index`, by way of `hashes` (RFC 9162, 2.1.3.2).

    Raises InvalidArgument when no such tree can be.
    """
    if index >= size:
        raise InvalidArgument(f"{_WHAT}: entry {index} in a tree of {size}")
    node, last, root = index, size - 1, hashlib.sha256(b"\0" + entry).digest()
    for sibling in hashes:
        if last == 0:
            raise InvalidArgument(f"{_WHAT}: longer than its tree is high")
        if node & 1 or node == last:
            root = _join(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = _join(root, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise InvalidArgument(f"{_WHAT}: shorter than its tree is high")
    return root


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def verify_checkpoint(text: str, size: int, root: bytes, is_signed: Callable[[bytes, bytes], bool]) -> None:
    """Raises PermissionDenied unless the log signed that its tree of `size` has this root.

    `is_signed` is asked whether a signature over bytes is by a trusted log: (signature, bytes).
    """
    note, separator, signatures = text.rpartition("\n\n")
    lines = note.split("\n")
    if not separator or len(lines) < 3:
        raise InvalidArgument(f"{_WHAT}: malformed checkpoint")
    signed = f"{note}\n".encode()
    if not any(is_signed(one, signed) for one in map(_read_signature, signatures.splitlines())):
        raise PermissionDenied(f"{_WHAT}: its checkpoint is not signed by a trusted Rekor key")
    if lines[1] != str(size) or decode_base64(lines[2], f"{_WHAT}: checkpoint") != root:
        raise PermissionDenied(f"{_WHAT}: its checkpoint is about another tree")


def _read_signature(line: str) -> bytes:
    words = line.split(" ")
    if len(words) != 3 or words[0] != "—":
        raise InvalidArgument(f"{_WHAT}: malformed checkpoint")
    return decode_base64(words[2], f"{_WHAT}: checkpoint")[_HINT_LENGTH:]
