"""Many images at once: what is chosen, what it is called, and what happens when one fails."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cli.main import run
from rundlet.errors import InvalidArgument, NotFound
from rundlet.image.api import copy_image, list_tags
from rundlet.image.semver import parse_range, parse_version
from rundlet.image.sync import list_items, locate_copy
from rundlet.image.syncfile import read_sync_file


@pytest.fixture
def shelf(host, layout, registry):
    """A registry with two repositories of some tags; its address."""
    source = layout.publish(layout.image(), "image")
    for name in ("team/app:1.0.0", "team/app:1.2.0", "team/app:2.0.0-rc1", "team/app:latest", "team/other:7"):
        copy_image(host, source, f"docker://{registry.address}/{name}")
    return registry.address


def chosen(host, kind, source, **more):
    return [item.image for item in list_items(host, kind, source, **more)]


def test_all_tags_of_a_repository(host, shelf):
    assert chosen(host, "docker", f"{shelf}/team/app") == [
        "app:1.0.0",
        "app:1.2.0",
        "app:2.0.0-rc1",
        "app:latest",
    ]


def test_one_tag(host, shelf):
    assert chosen(host, "docker", f"{shelf}/team/app:latest") == ["app:latest"]
    assert chosen(host, "docker", f"{shelf}/team/app:latest", scoped=True) == [f"{shelf}/team/app:latest"]
    assert chosen(host, "docker", f"{shelf}/team/app:latest", suffix="-x") == ["app:latest-x"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("images: {team/app: [latest, 1.0.0]}", ["app:latest", "app:1.0.0"]),
        ("images: {team/other: }", ["other:7"]),
        ("images: {team/other: [7]}", ["other:7"]),
        ("images-by-tag-regex: {team/app: '^1[.]'}", ["app:1.0.0", "app:1.2.0"]),
        ('images-by-semver: {team/app: ">1.0, <3"}', ["app:1.2.0"]),
        ('images-by-semver: {team/app: ">=2.0.0-0"}', ["app:2.0.0-rc1"]),
    ],
)
def test_what_a_file_says(host, shelf, tmp_path, lines, expected):
    (tmp_path / "sync.yml").write_text(f"{shelf}:\n  {lines}\n")
    assert chosen(host, "yaml", f"{tmp_path}/sync.yml") == expected


def test_what_a_file_says_of_access_and_platforms(tmp_path):
    (tmp_path / "sync.yml").write_text(
        "example.com:\n  images: {a: []}\n  platforms: {a: [linux/arm64]}\n  tls-verify: false\n"
        "  cert-dir: /certs\n  credentials: {username: ann, password: secret}\n"
    )
    (registry,) = read_sync_file(f"{tmp_path}/sync.yml")
    assert (registry.tls_verify, registry.cert_dir, registry.credentials.username) == (False, "/certs", "ann")
    assert [str(each) for each in registry.wanted[0].platforms] == ["linux/arm64/v8"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "a: [",
        "example.com: {image: {a: []}}",
        "example.com: {images: {a: {}}}",
        "example.com: {images-by-tag-regex: {a: '['}}",
        "example.com: {images-by-semver: {a: '>=!'}}",
        "example.com: {images: {a: []}, platforms: {b: [linux/amd64]}}",
    ],
)
def test_files_that_are_wrong_say_where(tmp_path, text):
    (tmp_path / "sync.yml").write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        read_sync_file(f"{tmp_path}/sync.yml")
    assert "\n" not in caught.value.message


def test_no_tag_that_fits_is_an_error(host, shelf, tmp_path):
    (tmp_path / "sync.yml").write_text(f"{shelf}:\n  images-by-tag-regex: {{team/app: nothing}}\n")
    with pytest.raises(NotFound, match="no tag is wanted"):
        chosen(host, "yaml", f"{tmp_path}/sync.yml")


def image_run(tmp_path, *words):
    return run(
        ["image", "--insecure-policy", "--root", f"{tmp_path}/root", "--run-root", f"{tmp_path}/run", *words]
    )


def test_there_and_back_again(host, shelf, tmp_path):
    usb = f"{tmp_path}/usb"
    assert (
        image_run(tmp_path, "sync", "-q", "--src", "docker", "--dest", "dir", f"{shelf}/team/app", usb) == 0
    )
    assert sorted(os.listdir(usb)) == ["app:1.0.0", "app:1.2.0", "app:2.0.0-rc1", "app:latest"]
    digests = f"{tmp_path}/digests"
    words = (
        "sync",
        "-q",
        "--src",
        "dir",
        "--dest",
        "docker",
        "--digestfile",
        digests,
        usb,
        f"{shelf}/mirror",
    )
    assert image_run(tmp_path, *words) == 0
    assert list_tags(host, f"docker://{shelf}/mirror/app") == list_tags(host, f"docker://{shelf}/team/app")
    with open(digests, encoding="utf-8") as file:
        assert len({line.split()[0] for line in file}) == 1


def test_a_dry_run_copies_nothing(shelf, tmp_path, capsys):
    words = (
        "sync",
        "--dry-run",
        "--src",
        "docker",
        "--dest",
        "dir",
        f"{shelf}/team/app:latest",
        f"{tmp_path}/usb",
    )
    assert image_run(tmp_path, *words) == 0
    assert not os.path.exists(f"{tmp_path}/usb")
    assert "Would copy" in capsys.readouterr().out


def test_the_others_are_copied_when_one_fails(shelf, tmp_path, capsys):
    (tmp_path / "sync.yml").write_text(f"{shelf}:\n  images: {{team/app: [absent, latest], no/such: []}}\n")
    words = ("sync", "-q", "--src", "yaml", "--dest", "dir", f"{tmp_path}/sync.yml", f"{tmp_path}/usb")
    assert image_run(tmp_path, *words) == 1
    assert image_run(tmp_path, *words, "--keep-going") == 1
    assert os.listdir(tmp_path / "usb") == ["app:latest"]
    assert "2 of the images" in capsys.readouterr().err


def test_where_an_image_goes(host, shelf):
    (item,) = list_items(host, "docker", f"{shelf}/team/other")
    assert str(locate_copy("docker", "mirror.example/x/", item)) == "docker://mirror.example/x/other:7"
    assert str(locate_copy("dir", "/srv", item)) == "dir:/srv/other:7"


# --- versions ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.2.3", "1.2.3 v1.2.3 1.2.3+build", "1.2.4 1.2.3-rc1"),
        ("=1.2", "1.2.0 1.2.9", "1.3.0"),
        ("!=1.2", "1.3.0 1.1.0", "1.2.5"),
        (">1.2", "1.3.0 2.0.0", "1.2.5 1.2.0"),
        (">=1.2", "1.2.0 2.0.0", "1.1.9 1.3.0-rc1"),
        ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
        ("<2", "1.9.9", "2.0.0 2.0.0-rc1"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3.0 1.2.2"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        ("^1.2.3", "1.2.3 1.9.0", "2.0.0 1.2.2"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("1.x", "1.0.0 1.9.9", "2.0.0"),
        ("*", "0.0.0 99.0.0", "1.0.0-rc1"),
        ("1.2 - 1.4.5", "1.2.0 1.4.5", "1.4.6 1.1.0"),
        (">=1, <2 || 3.x", "1.5.0 3.1.0", "2.5.0 4.0.0"),
        (">= 1.0 != 1.5.0", "1.4.0", "1.5.0 0.9.0"),
        (">=1.0.0-rc.2", "1.0.0-rc.10 1.0.0 1.0.0-rc.x", "1.0.0-rc.1 0.9.0"),
    ],
)
def test_ranges(text, inside, outside):
    found = parse_range(text)
    assert [tag for tag in inside.split() if not found.fits(parse_version(tag))] == []
    assert [tag for tag in outside.split() if found.fits(parse_version(tag))] == []


@pytest.mark.parametrize("text", ["", "||", ">=", "1.2.3.4", ">=1 |", "a.b"])
def test_ranges_that_are_none(text):
    with pytest.raises(InvalidArgument, match="version range"):
        parse_range(text)


@pytest.mark.parametrize("tag", ["latest", "1.2.3.4", "v", "1..2", "2024-01-02-x/"])
def test_tags_that_are_no_versions(tag):
    assert parse_version(tag) is None


@given(st.text(alphabet="0123456789.x*<>=!~^|-, vrc", max_size=30))
def test_any_text_is_a_range_or_refused(text):
    try:
        parse_range(text).fits(parse_version("1.2.3"))
    except InvalidArgument:
        pass
