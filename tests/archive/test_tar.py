"""The tar reader beside the standard library's, and against bytes that nobody should send."""

import io
import tarfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rundlet.archive import tar
from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import TarReader, clean_path
from rundlet.errors import Error, InvalidArgument, ResourceExhausted, Unimplemented
from tests.archive.trees import directory, hardlink, make_tar, member, symlink

CHUNK = 700  # so that headers and data straddle chunks


def read(data, *, chunk=CHUNK):
    """[(entry, content)] of a tar."""
    chunks = (data[at : at + chunk] for at in range(0, len(data), chunk))
    reader = TarReader(ByteStream(chunks, 1 << 30))
    return [(entry, b"".join(reader.data())) for entry in reader]


def entries(data):
    return [entry for entry, _ in read(data)]


# --- beside tarfile ---------------------------------------------------------

NAMES = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]),
        min_size=1,
        max_size=40,
    ).filter(lambda part: part not in {".", ".."}),
    min_size=1,
    max_size=6,
).map("/".join)
SMALL_NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}", fullmatch=True)
TYPES = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)


@st.composite
def members(draw, names=NAMES, id_max=2**31, size_max=2000, time_max=2**33):
    kind = draw(TYPES)
    data = draw(st.binary(max_size=size_max)) if kind == tarfile.REGTYPE else b""
    return member(
        draw(names),
        data,
        type=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, id_max)),
        gid=draw(st.integers(0, id_max)),
        mtime=draw(st.integers(0, time_max)),
        linkname=draw(names) if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else "",
        devmajor=draw(st.integers(0, 4095)) if kind == tarfile.CHRTYPE else 0,
        devminor=draw(st.integers(0, 2**20 - 1)) if kind == tarfile.CHRTYPE else 0,
    )


def assert_same(raw, given_members):
    found = read(raw)
    assert len(found) == len(given_members)
    for (entry, content), (info, data) in zip(found, given_members, strict=True):
        assert entry.path == info.name.encode("utf-8", "surrogateescape")
        assert entry.link == info.linkname.encode("utf-8", "surrogateescape")
        assert (entry.type, entry.mode, entry.uid, entry.gid) == (info.type, info.mode, info.uid, info.gid)
        assert entry.mtime_ns == info.mtime * 10**9
        assert entry.device == (info.devmajor, info.devminor)
        assert (content, entry.size_bytes) == (data, len(data))


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@given(given_members=st.lists(members(), max_size=6))
def test_what_tarfile_writes_is_read_back(format, given_members):
    assert_same(make_tar(*given_members, format=format), given_members)


@given(given_members=st.lists(members(SMALL_NAMES, id_max=0o7777777, time_max=2**33 - 1), max_size=6))
def test_ustar_is_read_back(given_members):
    assert_same(make_tar(*given_members, format=tarfile.USTAR_FORMAT), given_members)


@given(
    whole=st.integers(-(2**33), 2**33),
    nanoseconds=st.integers(0, 999_999_999),
    xattr=st.binary(min_size=1, max_size=60),
)
def test_pax_times_and_xattrs_are_exact(whole, nanoseconds, xattr):
    sign = -1 if whole < 0 else 1
    text = f"{whole}.{nanoseconds:09}"
    value = xattr.decode("utf-8", "surrogateescape")
    raw = make_tar(member("x", pax={"mtime": text, "SCHILY.xattr.user.a=b": value}))
    # tarfile splits keyword and value at the first "="
    entry = entries(raw)[0]
    assert entry.mtime_ns == whole * 10**9 + sign * nanoseconds
    assert entry.xattrs == (("user.a", b"b=" + xattr),)


def test_long_names_and_links_in_every_form():
    name, target = "d/" * 60 + "n" * 150, "t" * 300
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        entry = entries(make_tar(symlink(name, target), format=format))[0]
        assert (entry.path, entry.link) == (name.encode(), target.encode())


def test_a_ustar_prefix_is_the_front_of_the_name():
    name = "a" * 90 + "/" + "b" * 90
    assert entries(make_tar(member(name), format=tarfile.USTAR_FORMAT))[0].path == name.encode()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_numbers_that_octal_cannot_hold(format):
    entry = entries(make_tar(member("x", uid=3_000_000_000, gid=3_000_000_001), format=format))[0]
    assert (entry.uid, entry.gid) == (3_000_000_000, 3_000_000_001)


def test_times_before_1970():
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert entries(make_tar(member("x", mtime=-5), format=format))[0].mtime_ns == -5 * 10**9


def test_an_archive_may_end_without_zero_blocks():
    assert [entry.path for entry in entries(make_tar(member("x", b"data"))[:1024])] == [b"x"]


def test_an_old_directory_is_known_by_its_slash():
    info, _ = member("d/", mode=0o700)
    info.type = tarfile.AREGTYPE
    block = info.tobuf(tarfile.USTAR_FORMAT)
    assert entries(block)[0].type == tar.DIRECTORY


def test_global_headers_are_passed_over():
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c"}
    ) as archive:
        archive.addfile(member("x")[0])
    assert [entry.path for entry in entries(out.getvalue())] == [b"x"]


def test_content_that_is_not_read_is_passed_over():
    data = make_tar(member("a", b"1" * 5000), member("b", b"2"))
    reader = TarReader(ByteStream(iter([data]), 1 << 20))
    assert [entry.path for entry in reader] == [b"a", b"b"]


# --- names ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_path", "clean"),
    [
        (b"a/b", b"a/b"),
        (b"./a//b/", b"a/b"),
        (b"/etc/x", b"etc/x"),
        (b"a/./b/../c", b"a/c"),
        (b".", b""),
        (b"./", b""),
        (b"a/..", b""),
        (b"..a/b..", b"..a/b.."),
        (b"", b""),
    ],
)
def test_paths_are_cleaned(given_path, clean):
    assert clean_path(given_path) == clean


@pytest.mark.parametrize("path", [b"..", b"../x", b"/../x", b"a/../../x", b"a/b/../../.."])
def test_a_path_that_leaves_the_root_is_refused(path):
    with pytest.raises(InvalidArgument):
        clean_path(path)


@given(path=st.binary(max_size=30).map(lambda raw: raw.replace(b"\0", b"/")))
def test_clean_paths_have_no_odd_part(path):
    try:
        clean = clean_path(path)
    except InvalidArgument:
        return
    assert not {b"", b".", b".."} & set(clean.split(b"/")) or clean == b""
    assert clean_path(clean) == clean


# --- hostile ----------------------------------------------------------------


def seal(block):
    """`block` with its checksum put right."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def header(**attributes):
    info, _ = member("x", **attributes)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "raw",
    [
        b"x" * 512,
        header()[:100],
        header(size=5)[:512],
        seal(header()[:124] + b"\xff" * 12 + header()[136:]),
        seal(header()[:124] + b"notoctal\0\0\0\0" + header()[136:]),
        seal(header()[:124] + b"00000000009\0" + header()[136:]),
        seal(header()[:108] + b"\xff" * 8 + header()[116:]),
        seal(header()[:136] + b"\xbf" + b"\xff" * 11 + header()[148:]),
        make_tar(member("x", pax={"path": "a\0b"})),
        make_tar(member("x", pax={"linkpath": "a\0b"})),
        make_tar(member("x", pax={"SCHILY.xattr.user.a\0": "1"})),
        make_tar(member("x", pax={"size": "-1"})),
        make_tar(member("x", pax={"uid": "x"})),
        make_tar(member("x", pax={"uid": str(2**32 - 1)})),
        make_tar(member("x", pax={"mtime": "1e9"})),
        make_tar(member("x", pax={"mtime": "9" * 20})),
        make_tar(member("x", type=tarfile.CHRTYPE, devmajor=5000)),
        make_tar(member("../x")),
    ],
)
def test_what_lies_is_refused(raw):
    with pytest.raises(InvalidArgument):
        read(raw)


def test_unknown_types_are_not_guessed():
    with pytest.raises(Unimplemented):
        read(make_tar(member("x", type=b"M")))


def test_an_endless_extension_header_is_refused_before_it_is_read():
    info, _ = member("x", type=b"x")
    info.size = 1 << 40
    with pytest.raises(ResourceExhausted):
        read(info.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    "records",
    [
        b"5 a=\n",
        b"3 a",
        b"99 a=b\n",
        b"0 a=b\n",
        b"6 a=b",
        b" 6 a=b\n",
        b"+6 a=b\n",
        b"6 =ab\n",
        b"6 abc\n",
        b"99999999999999999999999 a=b\n",
        b"6 a=b\n\0\0",
        "٦ a=b\n".encode(),
    ],
)
def test_malformed_records_are_refused(records):
    info, _ = member("x", type=b"x")
    info.size = len(records)
    raw = info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + make_tar(member("y"))
    if records == b"5 a=\n":  # an empty value unsets
        assert entries(raw)[0].path == b"y"
        return
    with pytest.raises(InvalidArgument):
        read(raw)


VALID = make_tar(
    directory("d"),
    member("d/file", b"content" * 100, pax={"SCHILY.xattr.user.k": "v", "mtime": "1.5"}),
    symlink("d/link", "../file"),
    hardlink("d/hard", "d/file"),
    member("n" * 200, b"x" * 600),
    format=tarfile.PAX_FORMAT,
) + make_tar(member("m" * 200, b"y"), format=tarfile.GNU_FORMAT)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=12)), max_size=6
    ),
    cut=st.integers(0, len(VALID)),
    sealed=st.booleans(),
)
def test_changed_bytes_give_entries_or_our_errors(changes, cut, sealed):
    raw = bytearray(VALID)
    for at, data in changes:
        raw[at : at + len(data)] = data
    raw = bytes(raw[:cut]) if cut % 3 == 0 else bytes(raw[: len(VALID)])
    if sealed:
        raw = b"".join(
            seal(block) if len(block) == 512 and block[257:262] == b"ustar" else block
            for block in (raw[at : at + 512] for at in range(0, len(raw), 512))
        )
    try:
        read(raw)
    except Error:
        pass


@given(
    field=st.sampled_from(
        [(0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (329, 16), (345, 167)]
    ),
    data=st.data(),
    pax=st.booleans(),
)
def test_any_field_may_hold_anything(field, data, pax):
    at, size = field
    block = header(size=0, type=b"x" if pax else b"0")
    value = data.draw(st.binary(min_size=size, max_size=size))
    raw = seal(block[:at] + value + block[at + size :])
    try:
        read(raw + make_tar(member("y", b"z" * 100)))
    except Error:
        pass


@given(
    records=st.dictionaries(
        st.sampled_from(
            [
                "path",
                "linkpath",
                "size",
                "uid",
                "gid",
                "mtime",
                "GNU.sparse.major",
                "GNU.sparse.minor",
                "GNU.sparse.map",
                "GNU.sparse.size",
                "GNU.sparse.realsize",
                "GNU.sparse.name",
                "GNU.sparse.offset",
                "GNU.sparse.numbytes",
                "SCHILY.xattr.x",
            ]
        ),
        st.one_of(
            st.integers(-5, 2000).map(str),
            st.text(max_size=8),
            st.lists(st.integers(0, 600), max_size=6).map(lambda numbers: ",".join(map(str, numbers))),
        ),
    )
)
def test_any_pax_records_give_entries_or_our_errors(records):
    assume(all(c < "\ud800" or c > "\udfff" for value in records.values() for c in value))
    try:
        read(make_tar(member("x", b"1\n0\n5\n" + bytes(600), pax=records)))
    except Error:
        pass
