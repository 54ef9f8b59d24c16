"""Every layer of the corpus, and what chance makes of it: nothing outside the target is touched, one clear error."""

import os
import shutil
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rundlet.archive.apply import Limits, apply_layer
from rundlet.archive.flatten import flatten_layer
from rundlet.archive.listing import list_tree, read_checksum
from rundlet.archive.tree import make_root, remove_tree
from rundlet.errors import Error, Internal
from tests.archive.hostile import CANARY, CORPUS, in_memory

LIMITS = Limits(size_bytes=16 << 20, entries=5000)
SMALL = {name: data for name, data in CORPUS.items() if len(data) < 64 << 10}
# Harmless once everything is resolved inside the target.
CONTAINED = {
    "directory a/..",
    "absolute name",
    "doubled slashes",
    "symlink, then through it",
    "chain of symlinks",
    "symlink, then a directory of its name",
    "symlink, then a file over it",
}


@pytest.fixture
def place(tmp_path):
    """The target, with things around it that attacks would change; what they are like is told by `outside`."""
    os.makedirs(CANARY, exist_ok=True)
    for directory in (CANARY, tmp_path):
        with open(f"{directory}/file", "w", encoding="ascii") as file:
            file.write("untouched")
    yield tmp_path / "target"
    remove_tree(str(tmp_path / "target"))
    shutil.rmtree(CANARY, ignore_errors=True)


def outside(tmp_path):
    found = []
    for top in (CANARY, str(tmp_path)):
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if f"{directory}/{name}" != f"{tmp_path}/target"]
            for name in (*names, *files):
                status = os.lstat(f"{directory}/{name}")
                found.append(
                    (directory, name, status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink)
                )
    return found


def unpack(data, target):
    """The error's text, "" when there is none; anything but one of our errors comes through."""
    remove_tree(str(target))
    make_root(str(target))
    try:
        apply_layer(in_memory(data), str(target), limits=LIMITS)
        list(list_tree(str(target), read_checksum))
    except Error as error:
        assert not isinstance(error, Internal), error
        return error.message
    return ""


@pytest.mark.parametrize("name", CORPUS)
def test_nothing_outside_is_touched_and_the_error_is_one_line(tmp_path, place, name):
    before = outside(tmp_path)
    message = unpack(CORPUS[name], place)
    assert outside(tmp_path) == before
    assert "\n" not in message
    assert len(message) < 1000
    if name in CONTAINED:
        assert not message
    if name.endswith(("bomb", "bomb of many members")):
        assert "more than" in message


@pytest.mark.parametrize("name", CORPUS)
def test_nor_when_layers_go_over_each_other(tmp_path, place, name):
    """A bundle's root file system: what lies there already was made by a hostile layer too."""
    before = outside(tmp_path)
    make_root(str(place))
    os.symlink(CANARY, place / "out")
    os.symlink("/", place / "d")
    if "bomb" in name:
        pytest.skip("a bundle has no limit but the disk")
    try:
        flatten_layer(lambda: nullcontext(in_memory(CORPUS[name])), str(place))
    except Error as error:
        assert not isinstance(error, Internal), error
    assert outside(tmp_path) == before


@pytest.mark.slow
@given(
    name=st.sampled_from(sorted(SMALL)),
    edits=st.lists(st.tuples(st.integers(0, 8191), st.binary(max_size=12)), min_size=1, max_size=6),
    mend=st.booleans(),
)
@settings(max_examples=150)
def test_mutations_of_the_corpus_fail_only_our_way(tmp_path_factory, name, edits, mend):
    """Bytes replaced anywhere; `mend` makes the first header's checksum right again, to get past it."""
    tmp_path = tmp_path_factory.mktemp("fuzz")
    os.makedirs(CANARY, exist_ok=True)
    data = bytearray(SMALL[name])
    for at, new in edits:
        data[at % (len(data) + 1) : at % (len(data) + 1) + len(new)] = new
    if mend and len(data) >= 512:
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
    before = outside(tmp_path)
    unpack(bytes(data), tmp_path / "target")
    assert outside(tmp_path) == before
    remove_tree(str(tmp_path / "target"))
