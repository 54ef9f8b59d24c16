"""Tars that we write: read by ourselves, by the standard library, and packed from trees."""

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.archive import mtree, tar
from rundlet.archive.apply import apply_layer
from rundlet.archive.listing import known_checksum, list_tree, read_checksum, skip_checksum, without_checksum
from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import Entry, TarReader
from rundlet.archive.treetar import Normal, pack_tree
from rundlet.archive.walk import walk_tree
from rundlet.archive.writer import TarWriter
from rundlet.errors import InvalidArgument
from tests.archive.trees import describe, directory, make_tar, member

NAMES = st.lists(
    st.binary(min_size=1, max_size=90).filter(
        lambda name: not set(name) & set(b"/\0") and name not in {b".", b".."}
    ),
    min_size=1,
    max_size=4,
).map(b"/".join)
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="=\0", exclude_categories=("Cs",)), min_size=1)


def entries():
    return st.builds(
        Entry,
        st.sampled_from([tar.FILE, tar.DIRECTORY, tar.SYMLINK, tar.HARDLINK, tar.FIFO, tar.CHAR]),
        NAMES,
        st.just(b""),
        st.integers(0, 0o7777),
        st.integers(0, 2**32 - 2),
        st.integers(0, 2**32 - 2),
        st.integers(-(10**18), 10**19),
        st.just(0),
        st.just((0, 0)),
        st.dictionaries(KEYS, st.binary(min_size=1, max_size=300), max_size=3).map(
            lambda d: tuple(sorted(d.items()))
        ),
        st.none(),
    )


def complete(entry, link, data):
    if entry.type in {tar.SYMLINK, tar.HARDLINK}:
        return entry._replace(link=link), b""
    if entry.type == tar.CHAR:
        return entry._replace(device=(4095, 255)), b""
    if entry.type == tar.FILE:
        return entry._replace(size_bytes=len(data)), data
    return entry, b""


@given(st.lists(st.tuples(entries(), NAMES, st.binary(max_size=1500)), max_size=5))
def test_what_is_written_is_read_again(made):
    made = [complete(*each) for each in made]
    out = io.BytesIO()
    writer = TarWriter(out)
    for entry, data in made:
        writer.add(entry, (data,))
    writer.finish()
    reader = TarReader(ByteStream(iter((out.getvalue(),)), 1 << 30))
    found = [(entry, b"".join(reader.data())) for entry in reader]
    assert [(entry._replace(xattrs=tuple(sorted(entry.xattrs))), data) for entry, data in found] == made


def test_the_standard_library_reads_it(tmp_path):
    out = io.BytesIO()
    writer = TarWriter(out)
    long = b"d" * 150 + b"/" + b"f" * 150
    writer.add(
        Entry(
            tar.FILE, long, b"", 0o640, 3 << 21, 7, 1_500_000_000_250_000_000, 5, (0, 0), (("user.a", b"b"),)
        ),
        (b"hello",),
    )
    writer.add(Entry(tar.DIRECTORY, b"", b"", 0o755, 0, 0, 0, 0, (0, 0)))
    writer.finish()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        first, root = archive.getmembers()
        assert archive.extractfile(first).read() == b"hello"
    assert (first.name, first.mode, first.uid, first.gid, first.mtime) == (
        long.decode(),
        0o640,
        3 << 21,
        7,
        1_500_000_000.25,
    )
    assert first.pax_headers["SCHILY.xattr.user.a"] == "b"
    assert (root.name, root.isdir()) == (".", True)


def test_a_file_that_shrinks_meanwhile_is_told():
    with pytest.raises(InvalidArgument, match="changed while it was packed"):
        TarWriter(io.BytesIO()).add(Entry(tar.FILE, b"f", b"", 0, 0, 0, 0, 5, (0, 0)), (b"abc",))


@pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts need root")
def test_a_layer_packed_from_its_directory_is_the_same_layer(tmp_path):
    layer = make_tar(
        directory("d", mode=0o2755, uid=7),
        member("d/f", b"x" * 3000, mode=0o4755),
        member("d/.wh.gone"),
        directory("o"),
        member("o/.wh..wh..opq"),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    )
    (tmp_path / "one").mkdir()
    apply_layer(io.BytesIO(layer), str(tmp_path / "one"))
    packed = io.BytesIO()
    pack_tree(str(tmp_path / "one"), packed)
    (tmp_path / "two").mkdir()
    apply_layer(io.BytesIO(packed.getvalue()), str(tmp_path / "two"))
    assert describe(tmp_path / "one") == describe(tmp_path / "two")


def test_a_normal_tree_has_no_owner_and_no_time_of_its_own(tmp_path):
    (tmp_path / "f").write_text("x")
    out = io.BytesIO()
    pack_tree(str(tmp_path), out, normal=Normal((1, 2), 3 * 10**9))
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert {(info.uid, info.gid, info.mtime) for info in archive} == {(1, 2, 3)}


# --- listings -----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "d").mkdir(parents=True)
    (top / "d/sp ace\n").write_bytes(b"x" * 10)
    (top / "d/big").write_bytes(b"y" * 100_000)
    os.link(top / "d/big", top / "d/same")
    os.symlink("sp ace", top / "link")
    with open(top / "holes", "wb") as file:
        file.truncate(1 << 30)
    return top


def test_a_listing_has_a_line_for_each_path(tree):
    lines = list(list_tree(str(tree), read_checksum))
    assert [line.partition(b" ")[0] for line in lines] == [
        b".", b"./d", b"./holes", b"./link", b"./d/big", b"./d/same", b"./d/sp\\040ace\\012",
    ]  # fmt: skip
    assert lines[5].endswith(b" same=./d/big")
    assert lines[3].endswith(b" link=sp\\040ace")
    assert lines[2].endswith(b" size=1073741824")  # one with holes is not read
    assert list(map(without_checksum, lines)) == list(list_tree(str(tree), skip_checksum))


def test_checksums_that_are_known_are_not_read_again(tree):
    inode = os.stat(tree / "d/big").st_ino
    lines = dict(line.split(b" ", 1) for line in list_tree(str(tree), known_checksum({inode: 0xABC})))
    assert lines[b"./d/big"].endswith(b" crc32=00000abc")
    assert b"crc32=" in lines[b"./d/sp\\040ace\\012"]


def test_an_mtree_is_read_as_it_was_written(tree):
    text = "".join(mtree.write_spec(str(tree)))
    found = mtree.parse_spec(text, "test")
    now = {each.path: mtree.describe(each) for each in walk_tree(str(tree))}
    assert found.keys() == now.keys()
    assert not any(mtree.is_changed(found[path], now[path]) for path in now)
    os.chmod(tree / "d/big", 0o600)
    (tree / "link").unlink()
    os.symlink("elsewhere", tree / "link")
    now = {each.path: mtree.describe(each) for each in walk_tree(str(tree))}
    changed = {path for path in now if mtree.is_changed(found[path], now[path])}
    assert changed - {b""} == {b"d/big", b"d/same", b"link"}


@pytest.mark.parametrize(
    "text", ["..", ". type=dir\n/ type=dir\n", "f type=file\n", ". type=dir\na/b type=file\n"]
)
def test_an_mtree_that_leaves_its_root_is_refused(text):
    with pytest.raises(InvalidArgument, match="test: line"):
        mtree.parse_spec(text, "test")
