"""Unpacked beside GNU tar and umoci: the same tree comes out."""

import gzip
import json
import os
import shutil
import subprocess

import pytest

from rundlet.archive.apply import apply_layer
from tests.archive.trees import describe, directory, hardlink, make_tar, member, symlink

pytestmark = pytest.mark.differential

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners and devices")


def need(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on this host")
    return found


def unpack_both(tmp_path, archive):
    """Descriptions of the tree by us and by GNU tar."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        path.mkdir()
    with open(archive, "rb", buffering=0) as file:
        apply_layer(file, str(ours))
    options = ["--xattrs", "--xattrs-include=*", "--same-owner", "--numeric-owner", "-xpf"]
    subprocess.run([need("tar"), *options, archive, "-C", theirs], check=True)
    return describe(ours), describe(theirs)


@pytest.mark.parametrize(
    "options", [["--format=gnu"], ["--format=posix", "--xattrs"], ["--format=ustar"]], ids=lambda o: o[0]
)
@root_only
def test_a_real_tree(tmp_path, options):
    source = tmp_path / "source"
    (source / "deep" / ("n" * 80)).mkdir(parents=True)
    shutil.copytree("/usr/lib/python3.11/json", source / "json")
    (source / "deep" / ("n" * 80) / "file").write_bytes(os.urandom(100_000))
    os.symlink("/" + "t" * 90, source / "link")
    os.link(source / "deep" / ("n" * 80) / "file", source / "hard")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.chown(source / "json", 1234, 4321)
    os.chmod(source / "json", 0o3751)
    if "posix" in options[0]:
        os.setxattr(source / "hard", "user.note", b"with\nnewline\0and NUL")
    archive = tmp_path / "layer.tar"
    subprocess.run([need("tar"), *options, "-cf", archive, "-C", source, "."], check=True)
    ours, theirs = unpack_both(tmp_path, archive)
    assert ours == theirs
    assert len(ours) > 8


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ],
    ids=lambda options: options[-1],
)
@pytest.mark.parametrize("segments", [0, 1, 3, 30], ids=lambda n: f"{n} segments")
def test_sparse_files(tmp_path, options, segments):
    """30 segments need GNU's extension blocks."""
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for number in range(segments):
            file.seek(number * 100_000 + 8192)
            file.write(bytes([number + 1]) * 5000)
        file.truncate(segments * 100_000 + 1_000_000)
    (source / "after").write_bytes(b"the archive goes on")
    archive = tmp_path / "layer.tar"
    subprocess.run(
        [need("tar"), "--sparse", *options, "-cf", archive, "-C", source, "sparse", "after"], check=True
    )
    ours, theirs = unpack_both(tmp_path, archive)
    assert ours == theirs
    status = os.stat(tmp_path / "ours" / "sparse")
    assert status.st_size == segments * 100_000 + 1_000_000
    assert status.st_blocks * 512 < status.st_size / 2


def write_layout(path, layers):
    """A minimal OCI layout of plain tars, for umoci."""
    import hashlib

    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json", **put(json.dumps(config).encode())},
        "layers": [
            {"mediaType": f"{kind}layer.v1.tar+gzip", **put(gzip.compress(layer))} for layer in layers
        ],
    }
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": f"{kind}manifest.v1+json",
                **put(json.dumps(manifest).encode()),
                "annotations": {"org.opencontainers.image.ref.name": "test"},
            }
        ],
    }
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_text(json.dumps(index))


LAYERS = (
    make_tar(
        directory("./", mode=0o755),
        directory("etc", mode=0o750, uid=3),
        member("etc/keep", b"keep"),
        member("etc/gone", b"gone"),
        member("etc/changed", b"old"),
        directory("opaque", mode=0o711),
        member("opaque/below", b"hidden"),
        directory("removed"),
        member("removed/x", b"x"),
        directory("usr"),
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        member("usr/lib/a", b"a"),
        directory("replaced"),
        member("replaced/inner", b"1"),
    ),
    make_tar(
        member("etc/.wh.gone"),
        member("etc/changed", b"new", mode=0o4755, uid=7),
        hardlink("etc/hard", "etc/changed"),
        directory("opaque", mode=0o700),
        member("opaque/.wh..wh..opq"),
        member("opaque/fresh", b"fresh"),
        member(".wh.removed"),
        member("usr/lib/b", b"b"),
        member("replaced", b"now a file"),
    ),
    make_tar(member("removed/again", b"back"), member("etc/gone", b"again"), member("new/implied/x", b"x")),
)


@pytest.mark.kernel
def test_stacked_layers_are_what_umoci_unpacks(tmp_path):
    """Overlayfs over our layer directories beside umoci's one directory."""
    umoci = need("umoci")
    from rundlet.archive.inherit import copy_implied
    from rundlet.kernel.mount import mount, umount

    write_layout(tmp_path / "layout", LAYERS)
    subprocess.run(
        [umoci, "raw", "unpack", "--image", f"{tmp_path}/layout:test", tmp_path / "umoci"],
        check=True,
        capture_output=True,
    )
    # a file system of our own: the place of tests may be an overlay, which cannot be an upper layer
    work = tmp_path / "work"
    work.mkdir()
    mount("tmpfs", str(work), "tmpfs")
    try:
        lower = []
        for number, layer in enumerate(LAYERS):
            path = work / f"{number}"
            path.mkdir()
            (tmp_path / "layer.tar").write_bytes(layer)
            with open(tmp_path / "layer.tar", "rb") as file:
                stats = apply_layer(file, str(path))
            copy_implied(str(path), lower, stats.implied)
            lower.insert(0, str(path))
        (work / "merged").mkdir()
        mount("overlay", str(work / "merged"), "overlay", data=f"lowerdir={':'.join(lower)}")
        try:
            ours = describe(work / "merged", times=False)
        finally:
            umount(str(work / "merged"))
    finally:
        umount(str(work))
    assert ours == describe(tmp_path / "umoci", times=False)
    assert ours[b"etc"]["owner"] == (3, 0)
