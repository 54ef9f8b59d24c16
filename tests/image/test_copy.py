"""What a copy does beyond moving bytes: choosing, converting, skipping, mounting, refusing."""

import gzip
import json
import os

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.image.api import CopyOptions, copy_image, delete_image, describe_copy, inspect_image, list_tags
from rundlet.image.plan import Packing, check_packing
from rundlet.registry import server
from rundlet.spec import mediatype
from rundlet.spec.descriptor import parse_platform
from rundlet.spec.digest import Digest
from tests.image.images import read_manifest, tar

ARM = parse_platform("linux/arm64")
AMD = parse_platform("linux/amd64")


@pytest.fixture
def image(layout):
    return layout.publish(layout.image(({"a": b"1"}, {"b": b"2"})), "image")


@pytest.fixture
def index(layout):
    entries = [
        layout.image(({"arch": each.encode()},), architecture=each) for each in ("amd64", "arm64", "s390x")
    ]
    return layout.publish(layout.index(entries), "index")


def make_dir(tmp_path, name="out"):
    return f"dir:{tmp_path}/{name}"


def files(path):
    return {name for _, _, names in os.walk(path) for name in names}


# --- which images ---------------------------------------------------------------


def test_of_an_index_one_image_is_copied(host, index, tmp_path):
    copy_image(host, index, make_dir(tmp_path), CopyOptions(platform=ARM))
    assert inspect_image(host, make_dir(tmp_path)).config.architecture == "arm64"
    assert len(files(tmp_path / "out")) == 4  # version, manifest, config, layer


def test_all_of_an_index(host, index, tmp_path):
    result = copy_image(host, index, make_dir(tmp_path), CopyOptions(instances="all"))
    assert result.document.raw == inspect_image(host, index).top.raw
    assert len([name for name in files(tmp_path / "out") if name.endswith(".manifest.json")]) == 3


def test_a_subset_is_an_index_of_its_own(host, index, tmp_path):
    copy_image(host, index, make_dir(tmp_path), CopyOptions(platforms=(AMD, ARM)))
    entries = read_manifest(host, make_dir(tmp_path))["manifests"]
    assert [each["platform"]["architecture"] for each in entries] == ["amd64", "arm64"]


def test_a_subset_that_keeps_the_digest_is_sparse(host, index, tmp_path):
    options = CopyOptions(platforms=(AMD, ARM), preserve_digests=True)
    result = copy_image(host, index, make_dir(tmp_path), options)
    assert result.document.digest == inspect_image(host, index).digest
    assert len([name for name in files(tmp_path / "out") if name.endswith(".manifest.json")]) == 2


def test_one_platform_is_an_image_not_an_index(host, index, tmp_path):
    copy_image(host, index, make_dir(tmp_path), CopyOptions(platforms=(ARM,)))
    assert "layers" in read_manifest(host, make_dir(tmp_path))


def test_an_index_alone(host, index, tmp_path):
    copy_image(host, index, make_dir(tmp_path), CopyOptions(instances="index-only"))
    assert files(tmp_path / "out") == {"version", "manifest.json"}


@pytest.mark.parametrize("platforms", [(ARM,), (AMD, ARM)])
def test_an_image_of_another_platform_is_not_copied_without_a_word(host, image, tmp_path, platforms):
    with pytest.raises(NotFound, match="no image for platform linux/arm64") as caught:
        copy_image(host, image, make_dir(tmp_path), CopyOptions(platforms=platforms))
    assert caught.value.hint == "it is one image, for linux/amd64"
    assert not (tmp_path / "out").exists()


def test_an_image_of_the_platform_that_was_asked_for_is_copied(host, image, tmp_path):
    copy_image(host, image, make_dir(tmp_path), CopyOptions(platforms=(AMD,)))
    assert inspect_image(host, make_dir(tmp_path)).config.architecture == "amd64"


def test_an_image_that_is_no_index_is_copied_whatever_the_host_is(host, image, tmp_path):
    """As skopeo with --override-arch: that chooses among the images of an index."""
    copy_image(host, image, make_dir(tmp_path), CopyOptions(platform=ARM))


def test_an_artifact_is_for_no_platform(host, layout, tmp_path):
    name = layout.publish(layout.artifact(b"content"), "artifact")
    with pytest.raises(NotFound, match="no image for platform"):
        copy_image(host, name, make_dir(tmp_path), CopyOptions(platforms=(AMD,)))


# --- a registry that takes one kind of manifest only ------------------------------


@pytest.fixture
def picky(registry, monkeypatch):
    """The registry refuses manifests of one type, by a status and a body; what it was sent."""

    def refuse(media_type, status, body=b""):
        sent = []
        handler = server._Handler
        put = handler._put_manifest

        def put_manifest(self, call):
            kind = self.headers["Content-Type"]
            sent.append(kind)
            if kind != media_type:
                put(self, call)
                return
            b"".join(self._read_body(None))
            self._send_head(status, {"Content-Length": str(len(body))})
            self.wfile.write(body)

        monkeypatch.setattr(handler, "_put_manifest", put_manifest)
        return sent

    return refuse


INVALID = b'{"errors": [{"code": "MANIFEST_INVALID", "message": "manifest invalid"}]}'


@pytest.mark.parametrize(("status", "body"), [(415, b""), (400, INVALID)])
def test_a_registry_without_oci_gets_dockers_schema(host, image, registry, picky, status, body):
    sent = picky(mediatype.OCI_MANIFEST, status, body)
    target = f"docker://{registry.address}/a:1"
    copy_image(host, image, target)
    assert sent == [mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST]
    assert read_manifest(host, target)["config"]["mediaType"] == mediatype.DOCKER_CONFIG


def test_a_registry_without_oci_gets_dockers_list(host, index, registry, picky):
    picky(mediatype.OCI_INDEX, 415)
    target = f"docker://{registry.address}/a:1"
    copy_image(host, index, target, CopyOptions(instances="all"))
    assert read_manifest(host, target)["mediaType"] == mediatype.DOCKER_LIST


def test_a_refused_type_is_told_where_the_digest_must_stay(host, image, registry, picky):
    sent = picky(mediatype.OCI_MANIFEST, 415)
    with pytest.raises(InvalidArgument, match="HTTP status 415") as caught:
        copy_image(host, image, f"docker://{registry.address}/a:1", CopyOptions(preserve_digests=True))
    assert "would have to become" in caught.value.hint
    assert sent == [mediatype.OCI_MANIFEST]


def test_a_format_that_was_asked_for_is_the_only_one(host, image, registry, picky):
    sent = picky(mediatype.OCI_MANIFEST, 415)
    with pytest.raises(InvalidArgument, match="HTTP status 415"):
        copy_image(
            host, image, f"docker://{registry.address}/a:1", CopyOptions(format=mediatype.OCI_MANIFEST)
        )
    assert len(sent) == 1


def test_a_manifest_that_is_refused_in_every_form_is_told_as_it_is(host, image, registry, picky):
    picky(mediatype.OCI_MANIFEST, 415)
    sent = picky(mediatype.DOCKER_MANIFEST, 400, INVALID)
    with pytest.raises(InvalidArgument, match="HTTP status 415"):
        copy_image(host, image, f"docker://{registry.address}/a:1")
    assert sent == [mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST]


def test_a_platform_that_is_not_there_is_named(host, index, tmp_path):
    with pytest.raises(NotFound, match="linux/riscv64"):
        copy_image(
            host, index, make_dir(tmp_path), CopyOptions(platforms=(AMD, parse_platform("linux/riscv64")))
        )


def test_an_archive_of_docker_holds_one_image(host, index, tmp_path):
    with pytest.raises(InvalidArgument, match="one image"):
        copy_image(host, index, f"docker-archive:{tmp_path}/a.tar", CopyOptions(instances="all"))


def test_indexes_nested_without_end_are_refused(host, layout, tmp_path):
    entry = layout.image()
    for _ in range(6):
        entry = layout.index([{key: entry[key] for key in ("mediaType", "digest", "size")}])
    with pytest.raises(InvalidArgument, match="nested"):
        copy_image(host, layout.publish(entry), make_dir(tmp_path), CopyOptions(instances="all"))


# --- forms ----------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True])
def test_from_one_family_to_the_other_and_back(host, layout, tmp_path, docker):
    source = layout.publish(layout.image(docker=docker, compression="gzip"))
    first, second = mediatype.DOCKER_MANIFEST, mediatype.OCI_MANIFEST
    if docker:
        first, second = second, first
    copy_image(host, source, make_dir(tmp_path, "one"), CopyOptions(format=first))
    copy_image(host, make_dir(tmp_path, "one"), make_dir(tmp_path, "two"), CopyOptions(format=second))
    one, two = read_manifest(host, make_dir(tmp_path, "one")), read_manifest(host, make_dir(tmp_path, "two"))
    assert (one["mediaType"], two["mediaType"]) == (first, second)
    assert one["layers"][0]["mediaType"] != two["layers"][0]["mediaType"]
    assert two == read_manifest(host, source)


def test_an_index_becomes_a_list(host, index, tmp_path):
    options = CopyOptions(format=mediatype.DOCKER_MANIFEST, instances="all")
    copy_image(host, index, make_dir(tmp_path), options)
    manifest = read_manifest(host, make_dir(tmp_path))
    assert manifest["mediaType"] == mediatype.DOCKER_LIST
    assert {each["mediaType"] for each in manifest["manifests"]} == {mediatype.DOCKER_MANIFEST}


def test_members_that_nobody_knows_stay(host, layout, registry, tmp_path):
    entry = layout.image(annotations={"a": "b"}, futureMember={"x": [1, None]})
    source = layout.publish(entry)
    options = CopyOptions(packing=Packing("zstd"))
    copy_image(host, source, make_dir(tmp_path), options)
    manifest = read_manifest(host, make_dir(tmp_path))
    assert (manifest["annotations"], manifest["futureMember"]) == ({"a": "b"}, {"x": [1, None]})


@pytest.mark.parametrize("before", ["", "gzip", "zstd"])
@pytest.mark.parametrize("after", ["", "gzip", "zstd"])
def test_layers_are_recompressed(host, layout, tmp_path, before, after):
    source = layout.publish(layout.image(({"a": b"1" * 5000},), compression=before))
    copy_image(host, source, make_dir(tmp_path), CopyOptions(packing=Packing(after)))
    layer = read_manifest(host, make_dir(tmp_path))["layers"][0]
    expected = mediatype.OCI_LAYER + (f"+{after}" if after else "")
    assert layer["mediaType"] == expected
    assert inspect_image(host, make_dir(tmp_path)).raw_config == inspect_image(host, source).raw_config
    copy_image(
        host, make_dir(tmp_path), f"docker-archive:{tmp_path}/check.tar"
    )  # holds it against the diff id


def test_a_level_is_obeyed(host, layout, tmp_path):
    source = layout.publish(layout.image(({"a": os.urandom(99) * 500},), compression=""))
    sizes = []
    for level in (1, 9):
        target = make_dir(tmp_path, f"level{level}")
        copy_image(host, source, target, CopyOptions(packing=Packing("gzip", level)))
        sizes.append(read_manifest(host, target)["layers"][0]["size"])
    assert sizes[1] < sizes[0]


def test_registries_and_layouts_get_compressed_layers(host, layout, registry, tmp_path):
    source = layout.publish(layout.image(compression=""))
    for target in (f"docker://{registry.address}/a:1", f"oci:{tmp_path}/o:1"):
        copy_image(host, source, target)
        assert read_manifest(host, target)["layers"][0]["mediaType"].endswith("gzip")
    copy_image(host, source, f"oci:{tmp_path}/p:1", accept_plain=True)
    assert read_manifest(host, f"oci:{tmp_path}/p:1")["layers"][0]["mediaType"] == mediatype.OCI_LAYER


def test_zstd_in_docker_becomes_gzip(host, layout, tmp_path):
    source = layout.publish(layout.image(compression="zstd"))
    copy_image(host, source, make_dir(tmp_path), CopyOptions(format=mediatype.DOCKER_MANIFEST))
    assert read_manifest(host, make_dir(tmp_path))["layers"][0]["mediaType"] == mediatype.DOCKER_LAYER_GZIP


@pytest.mark.parametrize(
    "options",
    [
        CopyOptions(preserve_digests=True, format=mediatype.DOCKER_MANIFEST),
        CopyOptions(preserve_digests=True, packing=Packing("zstd")),
    ],
)
def test_digests_that_must_stay_forbid_changes(host, image, tmp_path, options):
    with pytest.raises(FailedPrecondition, match="--preserve-digests"):
        copy_image(host, image, make_dir(tmp_path), options)


def test_docker_archives_cannot_keep_digests(host, image, tmp_path):
    with pytest.raises(FailedPrecondition, match="--preserve-digests"):
        copy_image(host, image, f"docker-archive:{tmp_path}/a.tar", CopyOptions(preserve_digests=True))


def test_a_layer_that_is_not_what_the_config_says(host, layout, tmp_path):
    entry = layout.image(({"a": b"1"},))
    manifest = json.loads(layout.read(entry))
    manifest["layers"] = [layout.blob(mediatype.OCI_LAYER_GZIP, gzip.compress(tar({"other": b""})))]
    source = layout.publish(layout.document(manifest))
    with pytest.raises(Exception, match="diff id"):
        copy_image(host, source, make_dir(tmp_path), CopyOptions(packing=Packing("zstd")))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_chunked_zstd_is_read_and_its_marks_go_with_the_bytes(host, layout, tmp_path):
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"extra"
    entry = layout.image(compression="zstd")
    manifest = json.loads(layout.read(entry))
    content = layout.read(manifest["layers"][0]) + skippable
    mark = {"io.github.containers.zstd-chunked.manifest-position": "1:2:3:1", "keep": "this"}
    manifest["layers"] = [layout.blob(mediatype.OCI_LAYER_ZSTD, content, annotations=mark)]
    source = layout.publish(layout.document(manifest))
    copy_image(host, source, make_dir(tmp_path, "as-is"))
    assert read_manifest(host, make_dir(tmp_path, "as-is"))["layers"][0]["annotations"] == mark
    copy_image(host, source, make_dir(tmp_path, "gzip"), CopyOptions(packing=Packing("gzip")))
    assert read_manifest(host, make_dir(tmp_path, "gzip"))["layers"][0]["annotations"] == {"keep": "this"}
    copy_image(host, source, "containers-storage:localhost/chunked:1")


@pytest.mark.parametrize("packing", [Packing("lzma"), Packing("zstd:chunked", 23), Packing("gzip", 10)])
def test_formats_that_cannot_be_written(packing):
    with pytest.raises(InvalidArgument):
        check_packing(packing)


# --- what need not move ----------------------------------------------------------


def test_what_is_there_is_not_moved(host, image, registry):
    target = f"docker://{registry.address}/a:1"
    assert copy_image(host, image, target).copied_bytes > 0
    assert copy_image(host, image, target).copied_bytes == 0


def test_blobs_are_mounted_from_a_repository_that_has_them(host, image, registry):
    first, second = (f"docker://{registry.address}/{name}:1" for name in ("one", "two"))
    copy_image(host, image, first)
    told = describe_copy(host, first, second)
    assert sum(line.startswith("mount ") for line in told) == 3
    states = set()
    copy_image(host, first, second, watch=lambda progress: states.add(progress.state))
    assert states == {"mounted"}
    third = f"docker://{registry.address}/three:1"
    assert copy_image(host, image, third).copied_bytes == 0  # known from before, whatever the source


def test_a_layer_that_is_there_twice_is_moved_once(host, layout, tmp_path):
    source = layout.publish(layout.image(({"a": b"1"}, {"a": b"1"})))
    seen = []
    copy_image(host, source, make_dir(tmp_path), watch=lambda each: seen.append((each.digest, each.state)))
    assert len([state for _, state in seen if state == "done"]) == 2


@pytest.mark.parametrize("target", ["docker", "oci", "dir", "docker-archive", "oci-archive"])
def test_a_dry_run_changes_nothing(host, image, registry, tmp_path, target):
    place = {
        "docker": f"docker://{registry.address}/a:1",
        "docker-archive": f"docker-archive:{tmp_path}/new:a:1",
    }.get(target, f"{target}:{tmp_path}/new")
    told = describe_copy(host, image, place)
    assert len(told) == 4  # two layers, config, manifest
    assert not (tmp_path / "new").exists()
    with pytest.raises(NotFound):
        inspect_image(host, f"docker://{registry.address}/a:1")


# --- referrers --------------------------------------------------------------------


@pytest.fixture
def signed(layout):
    entry = layout.image()
    layout.publish(layout.artifact(b"sbom", "a/sbom", subject=entry))
    return layout.publish(entry, "image"), entry


def test_referrers_come_along(host, signed, registry, tmp_path):
    source, entry = signed
    options = CopyOptions(with_referrers=True)
    places = [f"docker://{registry.address}/a:1", f"oci:{tmp_path}/o:1", f"oci-archive:{tmp_path}/a.tar:1"]
    for target in places:
        result = copy_image(host, source, target, options)
        assert str(result.document.digest) == entry["digest"]
        source = target
    copy_image(host, source, f"oci:{tmp_path}/end:1", options)
    index = json.loads((tmp_path / "end" / "index.json").read_text())
    assert {each.get("artifactType", "") for each in index["manifests"]} == {"", "a/sbom"}


def test_referrers_have_no_place_in_a_directory(host, signed, tmp_path):
    with pytest.raises(FailedPrecondition, match="referrers"):
        copy_image(host, signed[0], make_dir(tmp_path), CopyOptions(with_referrers=True))


def test_artifacts_are_never_changed(host, layout, tmp_path):
    source = layout.publish(layout.artifact(b"content"))
    copy_image(host, source, make_dir(tmp_path), CopyOptions(packing=Packing("gzip")))
    assert read_manifest(host, make_dir(tmp_path)) == read_manifest(host, source)
    with pytest.raises(FailedPrecondition, match="artifact"):
        copy_image(host, source, make_dir(tmp_path, "2"), CopyOptions(format=mediatype.DOCKER_MANIFEST))


# --- places -----------------------------------------------------------------------


def test_a_layout_holds_several_images(host, layout, image, tmp_path):
    other = layout.publish(layout.image(({"z": b""},)), "other")
    for name, source in (("one", image), ("two", other)):
        copy_image(host, source, f"oci:{tmp_path}/o:{name}")
    assert list_tags(host, f"oci:{tmp_path}/o:one") == ["one", "two"]
    assert inspect_image(host, f"oci:{tmp_path}/o@1").digest == inspect_image(host, other).digest
    with pytest.raises(InvalidArgument, match="2 images"):
        inspect_image(host, f"oci:{tmp_path}/o")
    with pytest.raises(NotFound, match="three"):
        inspect_image(host, f"oci:{tmp_path}/o:three")
    with pytest.raises(NotFound, match="2 images"):
        inspect_image(host, f"oci:{tmp_path}/o@2")
    copy_image(host, other, f"oci:{tmp_path}/o:one")
    assert list_tags(host, f"oci:{tmp_path}/o@0") == ["one", "two"]


def test_a_directory_of_something_else_is_left_alone(host, image, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter").write_text("dear")
    with pytest.raises(FailedPrecondition, match="something else"):
        copy_image(host, image, make_dir(tmp_path))
    assert files(tmp_path / "out") == {"letter"}


def test_an_image_replaces_another_in_its_directory(host, layout, image, tmp_path):
    copy_image(host, image, make_dir(tmp_path))
    other = layout.publish(layout.image(({"z": b""},)), "other")
    copy_image(host, other, make_dir(tmp_path))
    assert len(files(tmp_path / "out")) == 4


def test_signatures_stay_with_a_directory(host, image, tmp_path):
    copy_image(host, image, make_dir(tmp_path, "one"))
    (tmp_path / "one" / "signature-1").write_bytes(b"\x89signature")
    copy_image(host, make_dir(tmp_path, "one"), make_dir(tmp_path, "two"))
    assert (tmp_path / "two" / "signature-1").read_bytes() == b"\x89signature"
    with pytest.raises(FailedPrecondition, match="signatures"):
        copy_image(host, make_dir(tmp_path, "one"), f"oci:{tmp_path}/o")
    copy_image(host, make_dir(tmp_path, "one"), f"oci:{tmp_path}/o", CopyOptions(remove_signatures=True))


def test_a_signed_image_is_not_changed(host, image, tmp_path):
    copy_image(host, image, make_dir(tmp_path, "one"))
    (tmp_path / "one" / "signature-1").write_bytes(b"\x89signature")
    with pytest.raises(FailedPrecondition, match="signatures"):
        copy_image(
            host, make_dir(tmp_path, "one"), make_dir(tmp_path, "two"), CopyOptions(packing=Packing("zstd"))
        )


def test_tarballs_become_an_image(host, tmp_path, monkeypatch):
    for name, content in (("base", {"a": b"1"}), ("top", {"b": b"2"})):
        (tmp_path / f"{name}.tar").write_bytes(tar(content))
        os.utime(tmp_path / f"{name}.tar", (1700000000, 1700000000))
    source = f"tarball:{tmp_path}/base.tar:{tmp_path}/top.tar"
    first = copy_image(host, source, "containers-storage:localhost/tarball:1")
    assert first.document == copy_image(host, source, make_dir(tmp_path)).document
    image = host.store.images.find("localhost/tarball:1")
    assert [os.listdir(host.store.layers.path(layer)) for layer in image.layers] == [["a"], ["b"]]
    assert image.config.created == "2023-11-14T22:13:20Z"


def test_archives_that_are_compressed_are_read(host, image, tmp_path):
    copy_image(host, image, f"docker-archive:{tmp_path}/a.tar:a:1")
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    plain, packed = (
        inspect_image(host, f"docker-archive:{tmp_path}/{name}") for name in ("a.tar", "b.tar.gz")
    )
    assert plain.digest == packed.digest
    assert list_tags(host, f"docker-archive:{tmp_path}/b.tar.gz") == ["docker.io/library/a:1"]


def test_an_archive_with_further_names(host, image, tmp_path):
    target = f"docker-archive:{tmp_path}/a.tar:a:1"
    copy_image(host, image, target, tags=["b:2", "c/d:3"])
    assert inspect_image(host, f"docker-archive:{tmp_path}/a.tar:c/d:3").digest
    with pytest.raises(NotFound, match="docker.io/library/b:2"):
        inspect_image(host, f"docker-archive:{tmp_path}/a.tar:e:5")


def test_a_push_by_digest_alone(host, image, registry):
    digest = copy_image(host, image, f"docker://{registry.address}/a@@unknown-digest@@").document.digest
    assert inspect_image(host, f"docker://{registry.address}/a@{digest}").digest == digest
    with pytest.raises(InvalidArgument, match="digest"):
        copy_image(host, image, f"docker://{registry.address}/a@{Digest.of(b'other')}")


def test_an_image_is_deleted_from_a_registry(host, image, registry):
    target = f"docker://{registry.address}/a:1"
    digest = copy_image(host, image, target).document.digest
    assert delete_image(host, target) == digest
    with pytest.raises(NotFound):
        inspect_image(host, target)


def test_a_broken_copy_leaves_the_old_image(host, layout, tmp_path):
    copy_image(host, layout.publish(layout.image(), "good"), make_dir(tmp_path))
    before = inspect_image(host, make_dir(tmp_path)).digest
    entry = layout.image(({"new": b"x" * 1000},))
    blob = json.loads(layout.read(entry))["layers"][0]["digest"].replace(":", "/")
    with open(f"{layout.path}/blobs/{blob}", "r+b") as file:
        file.write(b"changed")
    with pytest.raises(Exception, match="digest"):
        copy_image(host, layout.publish(entry, "bad"), make_dir(tmp_path))
    assert inspect_image(host, make_dir(tmp_path)).digest == before
    assert not [name for name in files(tmp_path / "out") if name.startswith(".new")]


def test_a_layout_gets_oci_unless_the_digest_must_stay(host, layout, tmp_path):
    source = layout.publish(layout.image(docker=True))
    copy_image(host, source, f"oci:{tmp_path}/converted:1")
    copy_image(host, source, f"oci:{tmp_path}/kept:1", CopyOptions(preserve_digests=True))
    types = [read_manifest(host, f"oci:{tmp_path}/{name}:1")["mediaType"] for name in ("converted", "kept")]
    assert types == [mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST]
