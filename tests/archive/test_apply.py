"""Layers into directories: what must be there, and what must not happen."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
import threading

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rundlet.archive.apply import Limits, apply_layer
from rundlet.errors import Error, InvalidArgument, ResourceExhausted, Unavailable
from rundlet.spec.digest import Digest
from tests.archive.trees import EPOCH_S, describe, directory, hardlink, make_tar, member, symlink

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, devices, trusted xattrs")

OPAQUE = "trusted.overlay.opaque"


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "outer" / "layer"
    path.mkdir(parents=True)
    (tmp_path / "outer" / "secret").write_text("untouched")
    yield path
    assert (tmp_path / "outer" / "secret").read_text() == "untouched"
    assert sorted(os.listdir(tmp_path / "outer")) == ["layer", "secret"]


def apply(target, *members, **options):
    return apply_layer(io.BytesIO(make_tar(*members)), str(target), **options)


def is_whiteout(path):
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


# --- what must be there -----------------------------------------------------


def test_files_directories_links_and_times(target):
    stats = apply(
        target,
        directory("d", mode=0o750, mtime=EPOCH_S + 1),
        member("d/file", b"content", mode=0o640, pax={"mtime": f"{EPOCH_S}.25"}),
        symlink("d/link", "/etc/passwd"),
        hardlink("d/hard", "d/file"),
        member("fifo", type=tarfile.FIFOTYPE, mode=0o600),
    )
    assert (target / "d/file").read_bytes() == b"content"
    assert os.stat(target / "d/file").st_mtime_ns == EPOCH_S * 10**9 + 250_000_000
    assert os.stat(target / "d").st_mtime_ns == (EPOCH_S + 1) * 10**9
    assert stat.S_IMODE(os.stat(target / "d").st_mode) == 0o750
    assert os.readlink(target / "d/link") == "/etc/passwd"
    assert os.lstat(target / "d/link").st_mtime_ns == EPOCH_S * 10**9
    assert os.path.samefile(target / "d/hard", target / "d/file")
    assert stat.S_ISFIFO(os.stat(target / "fifo").st_mode)
    assert (stats.size_bytes, stats.inodes, stats.implied) == (7, 5, (b"",))


@pytest.mark.parametrize("encode", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_the_diff_id_is_that_of_the_plain_tar_to_its_last_byte(target, encode):
    data = make_tar(member("x", b"1" * 3000)) + bytes(512 * 9)
    assert apply_layer(io.BytesIO(encode(data)), str(target)).diff_id == Digest.of(data)


def test_sha512_diff_ids(target):
    data = make_tar(member("x"))
    assert apply_layer(io.BytesIO(data), str(target), algorithm="sha512").diff_id == Digest.of(data, "sha512")


@root_only
def test_owners_setuid_bits_and_capabilities_are_kept(target):
    capability = bytes.fromhex("0100000200040000000000000000000000000000").decode("latin-1")
    apply(
        target,
        directory("d", mode=0o2755, gid=7),
        member("d/su", b"x", mode=0o6755, uid=3, gid=4),
        member("d/plain", b"x"),
        member("cap", b"x", uid=5, pax={"SCHILY.xattr.security.capability": capability}),
        symlink("link", "x", uid=8, gid=9),
    )
    status = os.stat(target / "d/su")
    assert (oct(status.st_mode), status.st_uid, status.st_gid) == ("0o106755", 3, 4)
    assert os.stat(target / "d/plain").st_gid == 0  # not the directory's
    assert os.getxattr(target / "cap", "security.capability") == capability.encode("latin-1")
    assert os.lstat(target / "link").st_uid == 8


def test_the_mode_does_not_depend_on_the_umask(target):
    before = os.umask(0o077)
    try:
        apply(target, directory("d", mode=0o777), member("d/x", mode=0o666), member("implied/x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(target / "d").st_mode) == 0o777
    assert stat.S_IMODE(os.stat(target / "d/x").st_mode) == 0o666


def test_a_second_entry_replaces_the_first(target):
    apply(
        target,
        member("file", b"old"),
        member("file", b"new"),
        directory("was-directory"),
        member("was-directory/x", b"gone"),
        member("was-directory", b"file"),
        symlink("was-link", "file"),
        directory("was-link", mode=0o700),
        directory("stays", mode=0o700),
        member("stays/x", b"kept"),
        directory("stays", mode=0o755),
    )
    assert (target / "file").read_bytes() == b"new"
    assert (target / "was-directory").read_bytes() == b"file"
    assert not os.path.islink(target / "was-link")
    assert (target / "was-link").is_dir()
    assert (target / "stays/x").read_bytes() == b"kept"
    assert stat.S_IMODE(os.stat(target / "stays").st_mode) == 0o755


def test_a_root_entry_dresses_the_root(target):
    stats = apply(target, directory("./", mode=0o711, mtime=5), member("./x"))
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o711
    assert os.stat(target).st_mtime == 5
    assert stats.implied == ()


def test_directories_without_an_entry_are_told(target):
    stats = apply(target, member("a/b/x"), directory("a"), member("c/x"))
    assert stats.implied == (b"", b"a/b", b"c")
    assert stats.inodes == 6


@root_only
def test_devices_are_made_only_where_allowed(target, tmp_path):
    node = member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    apply(target, node)
    status = os.stat(target / "null")
    assert (oct(status.st_mode), status.st_rdev) == ("0o20666", os.makedev(1, 3))
    (tmp_path / "other").mkdir()
    apply(tmp_path / "other", node, member("x"), devices=False)
    assert os.listdir(tmp_path / "other") == ["x"]


def test_more_directories_than_stay_open(target):
    names = [f"d{number}/x" for number in range(200)]
    apply(target, *(member(name) for name in names), hardlink("d150/y", "d3/x"))
    assert all((target / name).exists() for name in names)
    assert os.path.samefile(target / "d150/y", target / "d3/x")


# --- whiteouts --------------------------------------------------------------


def test_a_whiteout_becomes_a_device(target):
    apply(target, directory("d"), member("d/.wh.gone"))
    assert is_whiteout(target / "d/gone")
    assert os.listdir(target / "d") == ["gone"]


@root_only
def test_an_opaque_directory_is_marked(target):
    apply(target, directory("d"), member("d/new"), member("d/.wh..wh..opq"), member("e/.wh..wh..opq"))
    assert os.getxattr(target / "d", OPAQUE) == b"y"
    assert os.getxattr(target / "e", OPAQUE) == b"y"
    assert os.listdir(target / "d") == ["new"]


@root_only
@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_beside_a_directory_of_its_name_makes_it_opaque(target, order):
    parts = [[directory("d"), member("d/x")], [member(".wh.d")]][::order]
    apply(target, *parts[0], *parts[1])
    assert os.getxattr(target / "d", OPAQUE) == b"y"
    assert os.listdir(target / "d") == ["x"]


@root_only
def test_something_below_a_whiteout_makes_an_opaque_directory(target):
    stats = apply(target, member(".wh.d"), member("d/x"))
    assert os.getxattr(target / "d", OPAQUE) == b"y"
    assert b"d" in stats.implied


def test_a_whiteout_beside_a_file_of_its_name_changes_nothing(target):
    apply(target, member("x", b"new"), member(".wh.x"), member(".wh.y"), member("y", b"new"))
    assert (target / "x").read_bytes() == (target / "y").read_bytes() == b"new"


def test_names_of_aufs_are_passed_over(target):
    apply(target, directory(".wh..wh.plnk"), member(".wh..wh.plnk/1.2"), member(".wh..wh.aufs"), member("x"))
    assert os.listdir(target) == ["x"]


@pytest.mark.parametrize("name", [".wh.", "d/.wh.", ".wh..", ".wh..."])
def test_a_whiteout_of_nothing_is_refused(target, name):
    with pytest.raises(InvalidArgument):
        apply(target, member(name))


# --- hostile layers ---------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        [member("../secret", b"!")],
        [member("a/../../secret", b"!")],
        [directory("..", mode=0o700)],
        [hardlink("x", "../secret")],
        [hardlink("x", "/../secret")],
        [member("../.wh.secret")],
    ],
)
def test_names_that_leave_the_root_are_refused(target, members):
    with pytest.raises(InvalidArgument):
        apply(target, *members)


@pytest.mark.parametrize("link", ["..", "../..", "/..", "../../outer"])
def test_a_link_to_the_outside_leads_inside(target, link):
    """`link/secret` means the root's own "secret" (or outer/secret in it), as it would in the container."""
    try:
        apply(target, symlink("link", link), member("link/secret", b"inside"))
    except InvalidArgument:
        return
    assert os.path.islink(target / "link")


def test_an_absolute_link_as_parent_leads_from_the_root(target):
    apply(target, directory("real"), symlink("link", "/real"), member("link/x", b"1"))
    assert (target / "real/x").read_bytes() == b"1"


def test_a_dangling_link_as_parent_makes_its_target(target):
    stats = apply(target, directory("var"), symlink("var/run", "../run"), member("var/run/x", b"1"))
    assert (target / "run/x").read_bytes() == b"1"
    assert b"run" in stats.implied
    apply(target, symlink("abs", "/deep/er"), member("abs/y", b"2"))
    assert (target / "deep/er/y").read_bytes() == b"2"


def test_a_link_to_itself_is_refused(target):
    with pytest.raises(InvalidArgument):
        apply(target, symlink("a", "b"), symlink("b", "a"), member("a/x"))


def test_a_file_never_writes_through_a_link(target):
    apply(target, member("victim", b"old"), symlink("link", "victim"), member("link", b"new"))
    assert (target / "victim").read_bytes() == b"old"
    assert (target / "link").read_bytes() == b"new"


def test_a_directory_replaced_by_a_link_does_not_stay_open(target):
    """The parent is opened anew once something has been removed."""
    apply(
        target,
        directory("d"),
        member("d/x", b"1"),
        directory("e"),
        symlink("d", "e"),
        member("d/y", b"2"),
    )
    assert (target / "e/y").read_bytes() == b"2"
    assert not (target / "e/x").exists()


def test_a_file_as_parent_is_refused(target):
    with pytest.raises(InvalidArgument):
        apply(target, member("x"), member("x/y"))


@pytest.mark.parametrize(
    "members",
    [
        [hardlink("x", "missing")],
        [hardlink("x", "missing/deep")],
        [directory("d"), hardlink("x", "d")],
        [directory("d"), hardlink("d", "d/x")],
        [directory("d"), member("d/x"), hardlink("d", "d/x")],
        [member("./", b"data")],
        [symlink("/", "x")],
        [hardlink("/", "x")],
        [directory("x/.wh.y")],
        [member("n" * 300)],
        [member("/".join(["d" * 200] * 30))],
    ],
)
def test_what_cannot_be_made_is_refused(target, members):
    with pytest.raises(InvalidArgument):
        apply(target, *members)


def test_a_hard_link_does_not_follow_a_link(target):
    apply(target, symlink("link", "/etc/shadow"), hardlink("hard", "link"))
    assert os.readlink(target / "hard") == "/etc/shadow"


@root_only
def test_overlay_marks_in_a_layer_are_not_believed(target):
    names = (
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
    )
    pax = {f"SCHILY.xattr.{name}": "y" for name in names}
    apply(target, directory("d", pax=pax), member("x", pax=pax | {"SCHILY.xattr.trusted.mine": "1"}))
    assert os.listxattr(target / "d") == []
    assert os.listxattr(target / "x") == ["trusted.mine"]


def test_xattrs_that_have_no_place_are_left_out(target):
    apply(
        target,
        symlink("link", "x", pax={"SCHILY.xattr.user.a": "1"}),
        member("x", pax={"SCHILY.xattr.no.such": "1"}),
    )
    assert os.listxattr(target / "x") == []


def test_a_layer_that_unpacks_to_too_much_is_refused(target):
    bomb = gzip.compress(make_tar(member("zeros", bytes(20 << 20))))
    with pytest.raises(ResourceExhausted):
        apply_layer(io.BytesIO(bomb), str(target), limits=Limits(size_bytes=1 << 20))
    assert sum(path.stat().st_size for path in target.iterdir()) <= 1 << 20


def test_too_many_entries_are_refused(target):
    with pytest.raises(ResourceExhausted):
        apply(target, *(member(f"f{number}") for number in range(20)), limits=Limits(entries=10))


def test_a_truncated_layer_is_refused(target):
    data = make_tar(member("x", b"1" * 5000))
    with pytest.raises(InvalidArgument):
        apply_layer(io.BytesIO(data[:3000]), str(target))


def test_what_the_source_raises_comes_through(target):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            data = super().read(min(size, 600))
            if not data:
                raise Unavailable("the registry went away")
            return data

    with pytest.raises(Unavailable, match="went away"):
        apply_layer(Broken(make_tar(member("x", b"1" * 5000))[:3000]), str(target))


def test_a_source_that_waits_is_stopped_when_unpacking_fails(target):
    class Waiting:
        """Gives a bad entry, then nothing until it is stopped."""

        def __init__(self):
            self.parts = [make_tar(member("../x"))[:1024]]
            self.stopped = threading.Event()

        def read(self, _size):
            if self.parts:
                return self.parts.pop()
            assert self.stopped.wait(30)
            raise Unavailable("stopped")

    source = Waiting()
    with pytest.raises(InvalidArgument):
        apply_layer(source, str(target), stop=source.stopped.set)


def test_the_error_names_the_entry(target):
    with pytest.raises(InvalidArgument, match="deep/x"):
        apply(target, hardlink("deep/x", "missing"))


# --- anything ---------------------------------------------------------------

NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "b/a", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", ".", "a/../b", "c/d/e"]
)
LINKS = st.sampled_from(["a", "b", "/a", "..", "../..", "/", "a/b", "../b", ".", "/c/d", "missing"])


@st.composite
def any_member(draw):
    kind = draw(
        st.sampled_from(
            [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
        )
    )
    data = draw(st.binary(max_size=20)) if kind == tarfile.REGTYPE else b""
    link = draw(LINKS) if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
    return member(draw(NAMES), data, type=kind, linkname=link, mtime=draw(st.integers(0, 10**9)))


@root_only
@given(members=st.lists(any_member(), max_size=12))
def test_any_layer_stays_inside_and_fails_only_our_way(members):
    with tempfile.TemporaryDirectory() as outer:
        target = os.path.join(outer, "layer")
        os.mkdir(target)
        try:
            stats = apply_layer(io.BytesIO(make_tar(*members)), target)
        except Error as error:
            assert "\n" not in str(error)
        else:
            assert set(stats.implied) <= {b""} | set(describe(target))
        assert os.listdir(outer) == ["layer"]
