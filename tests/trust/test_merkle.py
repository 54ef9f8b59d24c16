"""Proofs of inclusion, against trees made by RFC 6962's definition."""

import pytest

from rundlet.errors import InvalidArgument
from rundlet.trust.merkle import find_root
from tests.trust.bundles import tree_path, tree_root


def test_every_entry_of_every_small_tree():
    for size in range(1, 20):
        entries = [b"entry %d" % number for number in range(size)]
        root = tree_root(entries)
        for index, entry in enumerate(entries):
            path = tree_path(index, entries)
            assert find_root(entry, index, size, path) == root
            if size > 1:
                assert find_root(b"other", index, size, path) != root
                for wrong in (path[:-1], [*path, b"x"]):
                    with pytest.raises(InvalidArgument, match="than its tree is high"):
                        find_root(entry, index, size, wrong)
