import os
import shutil
import subprocess

import pytest

from rundlet.errors import InvalidArgument, NotFound
from rundlet.image.elf import find_interpreter, find_libraries
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.pull import pull_image
from rundlet.image.push import push_image
from rundlet.kernel.mount import mount, umount
from rundlet.spec.image import parse_image_config
from rundlet.spec.manifest import parse_manifest
from tests.archive.trees import describe

PROGRAM = shutil.which("env")
BUSYBOX = shutil.which("busybox")


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "layout"))


def read_config(layout, name):
    manifest = parse_manifest(layout.read(layout.find(name).parsed_digest()))
    return manifest, parse_image_config(layout.read(manifest.config.parsed_digest()))


def need(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on this host")
    return found


def test_the_loader_and_the_libraries_of_a_program():
    libraries = find_libraries(PROGRAM)
    assert find_interpreter(PROGRAM) == libraries[0]
    assert any("/libc" in library for library in libraries)
    assert all(os.path.isfile(library) for library in libraries)


def test_a_static_program_needs_nothing():
    if BUSYBOX is None or find_interpreter(BUSYBOX):
        pytest.skip("no static program on this host")
    assert find_libraries(BUSYBOX) == ()


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF\x02\x01" + b"\xff" * 58]
)
def test_what_is_no_program_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidArgument):
        find_interpreter(str(tmp_path / "file"))


def test_equal_programs_give_an_equal_image(tmp_path, layout):
    first = build_host_image(["env", "cat"], layout, "one")
    second = build_host_image(["env", "cat"], Layout(str(tmp_path / "other")), "two")
    assert first == second


def test_the_config_says_what_runs(layout):
    build_host_image(["env"], layout, "test", cmd=("env", "-0"), env=("A=b",), working_dir="/data")
    manifest, config = read_config(layout, "test")
    assert config.config.cmd == ("env", "-0")
    assert config.config.env[-1] == "A=b"
    assert config.config.working_dir == "/data"
    assert len(config.rootfs.diff_ids) == len(manifest.layers) == 2
    build_host_image(["env"], layout, "default")
    assert read_config(layout, "default")[1].config.cmd == ("env",)


def test_a_program_that_is_not_here_is_named(layout):
    with pytest.raises(NotFound, match="no-such-program"):
        build_host_image(["no-such-program"], layout, "test")


def test_a_layout_keeps_names_apart(layout):
    one = build_host_image(["env"], layout, "one")
    two = build_host_image(["cat"], layout, "two")
    assert (layout.find("one").digest, layout.find("two").digest) == (one.digest, two.digest)
    build_host_image(["cat"], layout, "one")
    assert layout.find("one").digest == two.digest
    with pytest.raises(NotFound, match="three"):
        layout.find("three")


def test_pushed_and_pulled_it_is_the_same(layout, client, registry, store):
    build_host_image(["env"], layout, "test")
    digest = push_image(layout, "test", client, f"{registry.address}/host/test:1")
    image = pull_image(store, client, f"{registry.address}/host/test:1")
    manifest, config = read_config(layout, "test")
    assert image.manifest_digest == str(digest) == layout.find("test").digest
    assert (image.id, image.config) == (manifest.config.digest, config)


@pytest.mark.kernel
def test_it_runs(layout, client, registry, store, tmp_path):
    """The pulled layers under overlayfs, as a root directory."""
    build_host_image(["env", "ls"], layout, "test")
    push_image(layout, "test", client, f"{registry.address}/host/test:1")
    image = pull_image(store, client, f"{registry.address}/host/test:1")
    merged = tmp_path / "merged"
    merged.mkdir()
    mount("overlay", str(merged), "overlay", data=f"lowerdir={':'.join(store.layers.stack(image.layers))}")
    try:
        done = subprocess.run(
            ["chroot", merged, "/usr/bin/ls", "/"], capture_output=True, text=True, check=True
        )
    finally:
        umount(str(merged))
    assert {"bin", "etc", "lib", "tmp", "usr"} <= set(done.stdout.split())


@pytest.mark.kernel
@pytest.mark.differential
def test_umoci_unpacks_it_to_the_same_tree(layout, client, registry, store, tmp_path):
    umoci = need("umoci")
    build_host_image(["env"], layout, "test")
    push_image(layout, "test", client, f"{registry.address}/host/test:1")
    image = pull_image(store, client, f"{registry.address}/host/test:1")
    subprocess.run(
        [umoci, "raw", "unpack", "--image", f"{tmp_path}/layout:test", tmp_path / "umoci"],
        check=True,
        capture_output=True,
    )
    merged = tmp_path / "merged"
    merged.mkdir()
    mount("overlay", str(merged), "overlay", data=f"lowerdir={':'.join(store.layers.stack(image.layers))}")
    try:
        ours = describe(merged)
    finally:
        umount(str(merged))
    assert ours == describe(tmp_path / "umoci")


@pytest.mark.differential
def test_skopeo_reads_the_layout(layout, tmp_path):
    skopeo = need("skopeo")
    build_host_image(["env"], layout, "test")
    done = subprocess.run(
        [skopeo, "inspect", "--config", f"oci:{tmp_path}/layout:test"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"Cmd"' in done.stdout


@pytest.mark.differential
def test_an_image_that_skopeo_pushed_is_pulled(layout, client, registry, store, tmp_path):
    skopeo = need("skopeo")
    build_host_image(["env"], layout, "test")
    target = f"docker://{registry.address}/host/test:1"
    arguments = [
        skopeo,
        "copy",
        "-q",
        "--format",
        "v2s2",
        "--dest-tls-verify=false",
        f"oci:{tmp_path}/layout:test",
        target,
    ]
    subprocess.run(arguments, check=True, capture_output=True)
    image = pull_image(store, client, f"{registry.address}/host/test:1")
    assert image.config.config.cmd == ("env",)
    assert len(image.layers) == 2
