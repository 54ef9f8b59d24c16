"""Our client against Debian's docker-registry, and Debian's skopeo against our server."""

import json
import shutil
import subprocess

import pytest

from rundlet.errors import NotFound, Unauthenticated
from rundlet.registry.client import Credentials
from rundlet.spec import json as spec_json
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.image import ExecutionConfig, ImageConfig, RootFs
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.spec.reference import parse_reference

pytestmark = pytest.mark.differential

LAYER = bytes(range(256)) * 8000  # 2 MB


def describe(media_type, content):
    return Descriptor(media_type, str(Digest.of(content)), len(content))


def push_image(client, ref, media_type=mediatype.OCI_MANIFEST):
    """A small image of one layer; returns its manifest's raw bytes."""
    rootfs = RootFs("layers", (str(Digest.of(LAYER)),))
    config = spec_json.encode(ImageConfig(rootfs, "amd64", "linux", config=ExecutionConfig(cmd=("sh",))))
    manifest = Manifest(
        schema_version=2,
        config=describe(mediatype.OCI_CONFIG, config),
        layers=(describe(mediatype.OCI_LAYER, LAYER),),
        media_type=media_type,
    )
    raw = spec_json.encode(manifest)
    for content in (LAYER, config):
        client.push_blob(ref, Digest.of(content), content)
    client.push_manifest(ref, raw, media_type)
    return raw


@pytest.fixture
def skopeo():
    if not shutil.which("skopeo"):
        pytest.skip("skopeo not on this host")

    def run(*words):
        done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_push_and_pull(make_debian_registry, client, tmp_path):
    ref = parse_reference(f"{make_debian_registry()}/team/app:v1")
    raw = push_image(client, ref)
    fetched = client.resolve(ref)
    assert fetched.raw == raw
    assert client.fetch_manifest(ref, fetched.digest) == fetched
    manifest = parse_manifest(fetched.raw, fetched.media_type)
    assert isinstance(manifest, Manifest)
    client.download_blob(ref, manifest.layers[0], str(tmp_path / "layer"))
    assert (tmp_path / "layer").read_bytes() == LAYER
    assert client.list_tags(ref) == ["v1"]


def test_a_download_is_resumed(make_debian_registry, client, tmp_path):
    ref = parse_reference(f"{make_debian_registry()}/app:v1")
    client.push_blob(ref, Digest.of(LAYER), LAYER)
    (tmp_path / "layer").write_bytes(LAYER[:1_500_000])
    reports = []
    client.download_blob(ref, describe("x", LAYER), str(tmp_path / "layer"), progress=reports.append)
    assert (tmp_path / "layer").read_bytes() == LAYER
    assert reports[0] == 1_500_000


def test_what_is_not_there(make_debian_registry, client):
    ref = parse_reference(f"{make_debian_registry()}/app:v1")
    with pytest.raises(NotFound, match="MANIFEST_UNKNOWN"):
        client.resolve(ref)
    with pytest.raises(NotFound):
        client.list_tags(ref)


def test_many_tags(make_debian_registry, client):
    ref = parse_reference(f"{make_debian_registry()}/app:v1")
    raw = push_image(client, ref)
    tags = [f"t{number:03}" for number in range(120)]
    for tag in tags:
        client.push_manifest(ref.with_tag(tag), raw, mediatype.OCI_MANIFEST)
    assert sorted(client.list_tags(ref)) == [*tags, "v1"]


def test_both_registries_say_the_same_of_an_image(make_debian_registry, client, server):
    answers = []
    for authority in (make_debian_registry(), server.address):
        ref = parse_reference(f"{authority}/app:v1")
        push_image(client, ref)
        answers.append((client.resolve(ref), client.list_tags(ref)))
    assert answers[0] == answers[1]


def test_basic_log_in(make_debian_registry, client, tmp_path):
    crypt = pytest.importorskip("crypt")
    (tmp_path / "accounts").write_text(f"ann:{crypt.crypt('secret', '$2b$05$' + 'a' * 22)}\n")
    auth = f"auth: {{htpasswd: {{realm: test, path: {tmp_path / 'accounts'}}}}}"
    ref = parse_reference(f"{make_debian_registry(auth)}/app:v1")
    with pytest.raises(Unauthenticated, match="user name"):
        client.resolve(ref)
    with pytest.raises(Unauthenticated, match="401"):
        client.resolve(ref, Credentials("ann", "wrong"))
    client.push_blob(ref, Digest.of(LAYER), LAYER, Credentials("ann", "secret"))


def test_skopeo_reads_what_we_pushed(client, server, skopeo):
    ref = parse_reference(f"{server.address}/app:v1")
    raw = push_image(client, ref)
    shown = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{ref}")
    assert shown.encode() == raw
    config = json.loads(skopeo("inspect", "--tls-verify=false", "--config", f"docker://{ref}"))
    assert config["config"]["Cmd"] == ["sh"]


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_we_read_what_skopeo_pushed(client, server, skopeo, tmp_path, form):
    first = parse_reference(f"{server.address}/app:v1")
    second = parse_reference(f"{server.address}/copy:v2")
    push_image(client, first)
    insecure = ("--src-tls-verify=false", "--dest-tls-verify=false", "--insecure-policy")
    skopeo("copy", *insecure, "--format", form, f"docker://{first}", f"docker://{second}")
    fetched = client.resolve(second)
    manifest = parse_manifest(fetched.raw, fetched.media_type)
    assert isinstance(manifest, Manifest)
    expected = mediatype.OCI_MANIFEST if form == "oci" else mediatype.DOCKER_MANIFEST
    assert fetched.media_type == expected
    client.download_blob(second, manifest.layers[0], str(tmp_path / "layer"))
    assert (tmp_path / "layer").stat().st_size == manifest.layers[0].size
