"""zstd:chunked: written as ordinary zstd with a table that leads to every file, and read from others."""

import io
import json
import os
import shutil
import subprocess
import tarfile

import pytest
import zstandard

from rundlet.archive.compression import open_decompressed
from rundlet.errors import DataLoss, Error, InvalidArgument, Unimplemented
from rundlet.image.api import CopyOptions, copy_image
from rundlet.image.chunked import FORMER_PREFIX, PREFIX, ChunkedPacker, read_table
from rundlet.image.plan import Packing, check_packing
from rundlet.spec import mediatype
from rundlet.spec.digest import Digest
from tests.image.images import read_manifest, tar

CHUNKED = check_packing(Packing("zstd:chunked"))
FILES = {"etc/one": b"1" * 5000, "big": bytes(range(256)) * 4000, "empty": b""}


def odd_tar():
    """Every kind of member, a PAX header, padding and what follows the end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for kind, name in (
            (tarfile.DIRTYPE, "d"),
            (tarfile.SYMTYPE, "d/link"),
            (tarfile.LNKTYPE, "d/hard"),
            (tarfile.CHRTYPE, "d/null"),
            (tarfile.FIFOTYPE, "d/fifo"),
            (tarfile.REGTYPE, "n" * 150),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mtime, info.mode = kind, "target", 1.5, 0o4755
            info.devmajor, info.devminor = (1, 3) if kind == tarfile.CHRTYPE else (0, 0)
            info.pax_headers = {"SCHILY.xattr.user.a": "value"}
            info.size = 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue() + b"tail"


def pack(data, step=777):
    packer = ChunkedPacker()
    packed = b"".join(packer.pack(data[at : at + step] for at in range(0, len(data), step)))
    return packed, packer.annotations


def table_of(packed, annotations):
    return read_table(lambda offset, size: packed[offset : offset + size], annotations, "layer")


@pytest.mark.parametrize("data", [tar(FILES), odd_tar(), bytes(1024)])
def test_it_is_the_same_tar_as_ordinary_zstd(data):
    packed, _ = pack(data)
    assert b"".join(open_decompressed(io.BytesIO(packed))) == data
    assert packed == pack(data, step=1 << 20)[0]


def test_the_table_leads_to_every_file():
    packed, annotations = pack(tar(FILES))
    found = {}
    for entry in table_of(packed, annotations).entries:
        frames = packed[entry.offset : entry.end_offset]
        content = b"".join(open_decompressed(io.BytesIO(frames))) if entry.size else b""
        assert entry.size == len(content)
        assert not entry.size or entry.digest == str(Digest.of(content))
        found[entry.name] = content
    assert found == FILES


def test_the_table_tells_all_of_a_member():
    packed, annotations = pack(odd_tar())
    offset, size, _, _ = map(int, annotations[f"{PREFIX}manifest-position"].split(":"))
    entries = json.loads(zstandard.decompress(packed[offset : offset + size]))["entries"]
    assert [entry["type"] for entry in entries] == ["dir", "symlink", "hardlink", "char", "fifo", "reg"]
    assert (entries[3]["devMajor"], entries[3]["devMinor"]) == (1, 3)
    for entry in entries:
        assert entry["xattrs"] == {"user.a": "dmFsdWU="}
        assert (entry["mode"], entry["modtime"]) == (0o4755, "1970-01-01T00:00:01.500000000Z")
    assert entries[1]["linkName"] == "target"


def test_the_end_says_where_the_table_is():
    packed, annotations = pack(tar(FILES))
    assert packed[-8:] == b"GNUlInUx"
    numbers = [
        int.from_bytes(packed[at : at + 8], "little") for at in range(len(packed) - 64, len(packed) - 8, 8)
    ]
    assert numbers[4:] == [0, 0, 0]
    assert annotations[f"{PREFIX}manifest-position"] == ":".join(map(str, numbers[:4]))


def test_a_table_that_was_changed_is_refused():
    packed, annotations = pack(tar(FILES))
    offset = int(annotations[f"{PREFIX}manifest-position"].split(":")[0])
    changed = packed[:offset] + b"x" + packed[offset + 1 :]
    with pytest.raises(DataLoss, match="another digest"):
        table_of(changed, annotations)
    with pytest.raises(DataLoss):
        table_of(packed[:offset], annotations)


@pytest.mark.parametrize(
    "text", ["", "1:2:3", "a:1:1:1", "1:1:1:2", "-1:1:1:1", f"1:{1 << 40}:1:1", "9" * 99 + ":1:1:1"]
)
def test_a_malformed_position_is_refused(text):
    with pytest.raises(Error, match="layer: "):
        table_of(b"", {f"{PREFIX}manifest-position": text, f"{PREFIX}manifest-checksum": "x"})


def test_a_table_that_unpacks_to_more_than_it_says_is_refused():
    """A bomb: 100 MB in 10 kB."""
    bomb = zstandard.compress(bytes(100 << 20))
    said = {
        f"{PREFIX}manifest-position": f"0:{len(bomb)}:10:1",
        f"{PREFIX}manifest-checksum": str(Digest.of(bomb)),
    }
    with pytest.raises(InvalidArgument, match="another size"):
        table_of(bomb, said)


def test_what_the_table_cannot_tell_is_refused():
    name = tar({"a": b"1"}).replace(b"a\0", b"\xff\0", 1)
    fixed = bytearray(name)
    fixed[148:156] = b"%06o\0 " % (sum(fixed[:148]) + 8 * 32 + sum(fixed[156:512]))
    with pytest.raises(Unimplemented, match="UTF-8"):
        pack(bytes(fixed))
    with pytest.raises(Error):
        pack(b"no tar at all" * 100)


# --- in a copy --------------------------------------------------------------------


@pytest.fixture
def image(layout):
    return layout.publish(layout.image((FILES, {"two": b"2"})), "image")


def layers_of(host, location):
    return read_manifest(host, location)["layers"]


def test_a_copy_writes_it_and_another_takes_it_as_it_is(host, image, tmp_path):
    target = f"oci:{tmp_path}/out:1"
    copy_image(host, image, target, CopyOptions(packing=CHUNKED))
    for layer in layers_of(host, target):
        assert layer["mediaType"] == mediatype.OCI_LAYER_ZSTD
        with open(f"{tmp_path}/out/blobs/{layer['digest'].replace(':', '/')}", "rb") as file:
            blob = file.read()
        assert table_of(blob, layer["annotations"]).entries
    again = copy_image(host, target, f"oci:{tmp_path}/again:1", CopyOptions(packing=CHUNKED))
    assert layers_of(host, f"oci:{tmp_path}/again:1") == layers_of(host, target)
    assert (
        again.copied_bytes
        == sum(each["size"] for each in layers_of(host, target))
        + read_manifest(host, target)["config"]["size"]
    )


def test_plain_zstd_gets_a_table_and_gzip_loses_it(host, layout, tmp_path):
    source = layout.publish(layout.image((FILES,), compression="zstd"), "zstd")
    copy_image(host, source, f"oci:{tmp_path}/a:1", CopyOptions(packing=CHUNKED))
    assert f"{PREFIX}manifest-position" in layers_of(host, f"oci:{tmp_path}/a:1")[0]["annotations"]
    copy_image(host, f"oci:{tmp_path}/a:1", f"oci:{tmp_path}/b:1", CopyOptions(packing=Packing("gzip")))
    assert "annotations" not in layers_of(host, f"oci:{tmp_path}/b:1")[0]


def test_dockers_manifests_become_ocis_for_it(host, layout, tmp_path):
    source = layout.publish(layout.image((FILES,), docker=True), "docker")
    copy_image(host, source, f"dir:{tmp_path}/out", CopyOptions(packing=CHUNKED))
    assert read_manifest(host, f"dir:{tmp_path}/out")["mediaType"] == mediatype.OCI_MANIFEST


def test_it_can_run(host, image, tmp_path):
    copy_image(host, image, f"oci:{tmp_path}/out:1", CopyOptions(packing=CHUNKED))
    copy_image(host, f"oci:{tmp_path}/out:1", "containers-storage:localhost/chunked:1")
    record = host.store.images.find("localhost/chunked:1")
    with open(f"{host.store.layers.stack(record.layers)[-1]}/big", "rb") as file:
        assert file.read() == FILES["big"]


@pytest.mark.differential
def test_skopeo_reads_ours_and_we_read_its_table(host, image, tmp_path):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo not on this host")
    copy = ["skopeo", "--insecure-policy", "copy", "-q"]
    copy_image(host, image, f"oci:{tmp_path}/ours:1", CopyOptions(packing=CHUNKED))
    subprocess.run(
        [*copy, "--dest-decompress", f"oci:{tmp_path}/ours:1", f"dir:{tmp_path}/plain"], check=True
    )
    layers = layers_of(host, f"dir:{tmp_path}/plain")
    config = json.loads(
        (
            tmp_path / "plain" / read_manifest(host, f"dir:{tmp_path}/plain")["config"]["digest"][7:]
        ).read_bytes()
    )
    assert [layer["digest"] for layer in layers] == config["rootfs"]["diff_ids"]
    theirs = f"dir:{tmp_path}/theirs"
    subprocess.run(
        [*copy, "--dest-compress", "--dest-compress-format", "zstd:chunked", f"dir:{tmp_path}/plain", theirs],
        check=True,
    )
    layer = layers_of(host, theirs)[0]
    blob = (tmp_path / "theirs" / layer["digest"][7:]).read_bytes()
    assert any(key.startswith((PREFIX, FORMER_PREFIX)) for key in layer["annotations"])
    entries = table_of(blob, layer["annotations"]).entries
    assert {os.path.normpath(each.name): each.size for each in entries if each.type == "reg"} == {
        name: len(content) for name, content in FILES.items()
    }
