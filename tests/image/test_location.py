import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.image.location import Location, parse_docker_name, parse_location
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker://redis", Location("docker", reference=parse_reference("redis"))),
        ("docker://h:5000/a/b:c", Location("docker", reference=parse_reference("h:5000/a/b:c"))),
        (f"docker://a@{DIGEST}", Location("docker", reference=parse_reference(f"a@{DIGEST}"))),
        (
            "docker://a@@unknown-digest@@",
            Location("docker", reference=parse_reference("a"), untagged=True),
        ),
        ("oci:/srv/a", Location("oci", "/srv/a")),
        ("oci:/srv/a:latest", Location("oci", "/srv/a", name="latest")),
        ("oci:/srv/a:h:5000/b:c", Location("oci", "/srv/a", name="h:5000/b:c")),
        ("oci:/srv/a@2", Location("oci", "/srv/a", position=2)),
        ("oci-archive:-", Location("oci-archive", "-")),
        ("oci-archive:a.tar@0", Location("oci-archive", "a.tar", position=0)),
        ("dir:/srv/b:1", Location("dir", "/srv/b:1")),
        ("docker-archive:a.tar", Location("docker-archive", "a.tar")),
        ("docker-archive:a.tar:b:1", Location("docker-archive", "a.tar", reference=parse_reference("b:1"))),
        ("docker-archive:a.tar:@3", Location("docker-archive", "a.tar", position=3)),
        ("docker-archive:/dev/stdin", Location("docker-archive", "/dev/stdin")),
        ("docker-daemon:a:1", Location("docker-daemon", reference=parse_reference("a:1"))),
        (f"docker-daemon:{DIGEST}", Location("docker-daemon", digest=DIGEST)),
        ("containers-storage:a:1", Location("containers-storage", name="a:1")),
        ("containers-storage:[overlay@/a+/b:x=y]a:1", Location("containers-storage", name="a:1")),
        ("containers-storage:@0123abcd", Location("containers-storage", name="0123abcd")),
        ("tarball:a.tar:b.tar", Location("tarball", paths=("a.tar", "b.tar"))),
    ],
)
def test_names_as_the_manual_has_them(text, expected):
    assert parse_location(text) == expected
    assert parse_location(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "redis",
        "redis:latest",
        "docker:redis",
        "docker://",
        "docker://UPPER/Case",
        f"docker://a:1@{DIGEST}",
        "docker://a:1@@unknown-digest@@",
        "docker://a@@unknown-digest@@x",
        "oci:",
        "oci::name",
        "oci:/a:b c",
        "dir:",
        "docker-archive:",
        "docker-archive:a.tar:@x",
        f"docker-archive:a.tar:b@{DIGEST}",
        "docker-daemon:a",
        "docker-daemon:sha256:abc",
        "containers-storage:",
        "tarball:a::b",
        "ostree:a",
    ],
)
def test_what_is_no_name_says_why(text):
    with pytest.raises(InvalidArgument, match="image name|digest|reference|tag"):
        parse_location(text)


@given(st.text(max_size=60) | st.from_regex(r"(docker|oci|dir|docker-archive):[ -~]{0,40}", fullmatch=True))
def test_any_text_is_a_name_or_refused(text):
    try:
        location = parse_location(text)
    except InvalidArgument as error:
        assert "\n" not in error.message or "\n" in text
    else:
        assert parse_location(str(location)) == location


def test_a_repository_has_no_tag_by_itself():
    reference = parse_docker_name("//h:5000/a", default_tag=False).reference
    assert (reference.name, reference.tag) == ("h:5000/a", "")


@pytest.mark.parametrize("text", ["oci:/a@1:", "docker-archive:/a@1:", "oci-archive:/a@x"])
def test_a_path_that_ends_like_an_index_stays_a_path(text: str) -> None:
    location = parse_location(text)
    assert location.position == -1
    assert parse_location(str(location)) == location


@pytest.mark.parametrize("name", ["@[]", "@@id", "[overlay@/x][a", "[]"])
def test_a_stored_name_is_read_as_it_was_written(name: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_location(f"containers-storage:{name}")
