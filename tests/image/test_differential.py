"""Images made here are read by Debian's skopeo, podman and umoci, and theirs by us."""

import contextlib
import io
import json
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from rundlet.cli import main
from rundlet.errors import NotFound, Unavailable
from rundlet.image.api import CopyOptions, copy_image, inspect_image, list_tags
from rundlet.image.inspection import format_inspection
from rundlet.image.place import Access
from rundlet.spec import mediatype
from tests.image.images import read_manifest

pytestmark = pytest.mark.differential

FILE_FORMS = ("oci", "oci-archive", "dir", "docker-archive")


def run(program, *words, check=True, **more):
    if not shutil.which(program):
        pytest.skip(f"{program} not on this host")
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=100, check=False, **more)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def skopeo(*words):
    return run("skopeo", "--insecure-policy", *words)


def locate(form, directory, name):
    return {
        "oci": f"oci:{directory}/{name}:tag",
        "oci-archive": f"oci-archive:{directory}/{name}.tar:tag",
        "dir": f"dir:{directory}/{name}",
        "docker-archive": f"docker-archive:{directory}/{name}.tar:localhost/image:tag",
    }[form]


@pytest.fixture
def image(layout):
    layers = ({"etc/one": b"1", "etc/two": b"2"}, {"bin/three": b"3" * 3000})
    return layout.publish(layout.image(layers, labels={"a": "b"}), "image")


@pytest.fixture
def index(layout):
    entries = [layout.image(({"arch": each.encode()},), architecture=each) for each in ("amd64", "arm64")]
    return layout.publish(layout.index(entries), "index")


@pytest.mark.parametrize("form", FILE_FORMS)
def test_skopeo_reads_what_we_wrote(host, image, tmp_path, form):
    copy_image(host, image, locate(form, tmp_path, "ours"))
    skopeo("copy", locate(form, tmp_path, "ours"), f"dir:{tmp_path}/check")
    ours, theirs = (inspect_image(host, each) for each in (image, f"dir:{tmp_path}/check"))
    assert theirs.raw_config == ours.raw_config
    if form != "docker-archive":
        assert theirs.digest == ours.digest


@pytest.mark.parametrize("form", FILE_FORMS)
def test_we_read_what_skopeo_wrote(host, image, tmp_path, form):
    skopeo("copy", image, locate(form, tmp_path, "theirs"))
    copy_image(host, locate(form, tmp_path, "theirs"), f"dir:{tmp_path}/check")
    before, after = (inspect_image(host, each) for each in (image, f"dir:{tmp_path}/check"))
    assert after.raw_config == before.raw_config
    if form != "docker-archive":
        assert after.digest == before.digest


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_conversions_give_the_same_layers_and_config(host, image, tmp_path, form):
    kind = mediatype.OCI_MANIFEST if form == "oci" else mediatype.DOCKER_MANIFEST
    copy_image(host, image, f"dir:{tmp_path}/ours", CopyOptions(format=kind))
    skopeo("copy", "--format", form, image, f"dir:{tmp_path}/theirs")
    ours, theirs = (read_manifest(host, f"dir:{tmp_path}/{name}") for name in ("ours", "theirs"))
    assert ours["mediaType"] == theirs["mediaType"]
    assert [each["digest"] for each in ours["layers"]] == [each["digest"] for each in theirs["layers"]]
    assert [each["mediaType"] for each in ours["layers"]] == [each["mediaType"] for each in theirs["layers"]]
    assert ours["config"] == theirs["config"]


def test_all_images_of_an_index(host, index, tmp_path):
    copy_image(host, index, f"dir:{tmp_path}/ours", CopyOptions(instances="all"))
    skopeo("copy", "--all", f"dir:{tmp_path}/ours", f"oci:{tmp_path}/theirs:tag")
    assert inspect_image(host, f"oci:{tmp_path}/theirs:tag").digest == inspect_image(host, index).digest


@pytest.mark.parametrize("form", ["oci", "dir", "oci-archive"])
@pytest.mark.parametrize(
    "words", [(), ("--config",), ("--raw",), ("--format", "{{.Name}}|{{.Digest}}|{{.Labels}}")]
)
def test_inspect_says_what_skopeo_says(host, image, tmp_path, form, words):
    location = locate(form, tmp_path, "image")
    copy_image(host, image, location)
    ours, theirs = run_ours("inspect", *words, location), skopeo("inspect", *words, location)
    if words[:1] == ("--format",) or words == ("--raw",):
        assert ours == theirs
    else:
        assert newer(json.loads(ours), json.loads(theirs)) == json.loads(theirs)


def run_ours(*words):
    """Our command line in this process."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(out):
        assert main.run(["image", "--insecure-policy", *words]) == 0
    return out.buffer.getvalue().decode()


def newer(ours, theirs):
    """What skopeo 1.9 does not show yet."""
    return {key: value for key, value in ours.items() if key in theirs or key != "LayersData"}


def test_registries_agree(host, image, make_debian_registry, tmp_path):
    address = make_debian_registry()
    access = Access(tls_verify=False)
    copy_image(host, image, f"docker://{address}/team/ours:1", destination_access=access)
    skopeo("copy", "--dest-tls-verify=false", image, f"docker://{address}/team/theirs:1")
    said = [
        format_inspection(inspect_image(host, f"docker://{address}/team/{name}:1", access=access))
        for name in ("ours", "theirs")
    ]
    assert said[0] | {"Name": ""} == said[1] | {"Name": ""}
    theirs = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{address}/team/ours:1"))
    assert newer(said[0], theirs) == theirs
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{address}/team/ours"))
    assert listed["Tags"] == list_tags(host, f"docker://{address}/team/ours:1", access=access)
    assert listed["Repository"] == f"{address}/team/ours"


def test_blobs_are_mounted_in_debians_registry(host, image, make_debian_registry):
    address = make_debian_registry()
    copy_image(host, image, f"docker://{address}/one:1")
    assert copy_image(host, f"docker://{address}/one:1", f"docker://{address}/two:1").copied_bytes == 0


def test_referrers_by_the_tag_that_stands_in(host, layout, make_debian_registry, tmp_path):
    """Debian's registry knows no referrers: the fallback tag lists them."""
    entry = layout.image()
    layout.publish(layout.artifact(b"sbom", "a/sbom", subject=entry))
    source, address = layout.publish(entry, "image"), make_debian_registry()
    options = CopyOptions(with_referrers=True)
    copy_image(host, source, f"docker://{address}/a:1", options)
    assert entry["digest"].replace(":", "-") in list_tags(host, f"docker://{address}/a:1")
    copy_image(host, f"docker://{address}/a:1", f"oci:{tmp_path}/back:1", options)
    index = json.loads((tmp_path / "back" / "index.json").read_text())
    assert {each.get("artifactType", "") for each in index["manifests"]} == {"", "a/sbom"}


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_uploads_of_unknown_length_reach_debians_registry(host, layout, make_debian_registry, packing):
    from rundlet.image.plan import Packing

    source = layout.publish(layout.image(({"a": bytes(2_000_000)},), compression=""))
    target = f"docker://{make_debian_registry()}/a:1"
    copy_image(host, source, target, CopyOptions(packing=Packing(packing)))
    skopeo("inspect", "--tls-verify=false", target)
    assert read_manifest(host, target)["layers"][0]["mediaType"].endswith(packing)


def test_umoci_unpacks_ours(host, image, tmp_path):
    copy_image(host, image, f"oci:{tmp_path}/ours:tag")
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/ours:tag", f"{tmp_path}/bundle")
    assert (tmp_path / "bundle/rootfs/bin/three").read_bytes() == b"3" * 3000


def test_we_read_umocis(host, tmp_path):
    run("umoci", "init", "--layout", f"{tmp_path}/theirs")
    run("umoci", "new", "--image", f"{tmp_path}/theirs:new")
    run("umoci", "config", "--image", f"{tmp_path}/theirs:new", "--config.label", "x=y")
    assert inspect_image(host, f"oci:{tmp_path}/theirs:new").labels == {"x": "y"}


@pytest.fixture
def podman(tmp_path):
    with tempfile.TemporaryDirectory() as short:  # podman takes no long paths

        def call(*words, **more):
            place = ("--root", f"{tmp_path}/podman", "--runroot", f"{short}/run", "--storage-driver", "vfs")
            return run("podman", *place, *words, **more)

        yield call


@pytest.mark.kernel
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_loads_ours_and_we_load_its(host, image, tmp_path, podman, form):
    copy_image(host, image, locate(form, tmp_path, "ours"))
    podman("load", "-q", "-i", f"{tmp_path}/ours.tar")
    name = podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()[0]
    podman("save", "-q", "--format", form, "-o", f"{tmp_path}/theirs.tar", name)
    back = inspect_image(host, f"{form}:{tmp_path}/theirs.tar")
    assert back.raw_config == inspect_image(host, image).raw_config


@pytest.fixture
def daemon(tmp_path):
    """podman's service, which speaks a Docker daemon's API; where it listens."""
    if not shutil.which("podman"):
        pytest.skip("podman not on this host")
    with tempfile.TemporaryDirectory() as short:
        address = f"unix://{short}/sock"
        place = ("--root", f"{tmp_path}/podman", "--runroot", f"{short}/run", "--storage-driver", "vfs")
        command = ["podman", *place, "system", "service", "--time", "0", address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for_socket(f"{short}/sock", process)
                yield address
            finally:
                process.terminate()


def wait_for_socket(path, process, timeout_s=20):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
            return
        time.sleep(0.02)
    pytest.fail("podman's service did not start")


@pytest.mark.kernel
def test_a_daemon_takes_an_image_and_gives_it_back(host, image, tmp_path, daemon):
    access = Access(daemon_host=daemon)
    name = "docker-daemon:localhost/daemons:1"
    copy_image(host, image, name, destination_access=access)
    copy_image(host, name, f"dir:{tmp_path}/back", source_access=access)
    assert inspect_image(host, f"dir:{tmp_path}/back").raw_config == inspect_image(host, image).raw_config
    with pytest.raises(NotFound, match="localhost/absent"):
        inspect_image(host, "docker-daemon:localhost/absent:1", access=access)


def test_no_daemon_is_said_with_its_address(host, tmp_path):
    access = Access(daemon_host=f"unix://{tmp_path}/none")
    with pytest.raises(Unavailable, match="none: no such file"):
        inspect_image(host, "docker-daemon:a:1", access=access)
