import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.digest import Digest
from rundlet.spec.reference import Reference, parse_reference

SUM = Digest("sha256", "ab" * 32)

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
DOMAINS = st.builds(
    lambda labels, port: ".".join(labels) + port,
    st.lists(LABEL, min_size=2, max_size=4),
    st.sampled_from(["", ":5000"]),
) | st.sampled_from(["localhost", "docker.io", "[::1]:5000", "127.0.0.1:80", "UPPER"])
PATHS = st.from_regex(r"[a-z0-9]+((\.|_|__|-{1,3})[a-z0-9]+){0,2}(/[a-z0-9]+){1,3}", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
REFERENCES = st.builds(Reference, DOMAINS, PATHS, TAGS, st.none() | st.just(SUM))


@given(ref=REFERENCES)
def test_a_canonical_reference_survives_its_text(ref: Reference) -> None:
    assert parse_reference(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("crio/redis:alpine", "docker.io/crio/redis:alpine"),
        ("docker.io/redis", "docker.io/library/redis:latest"),
        ("index.docker.io/redis", "docker.io/library/redis:latest"),
        ("localhost/redis", "localhost/redis:latest"),
        ("localhost:5000/redis", "localhost:5000/redis:latest"),
        ("quay.io/crio/redis", "quay.io/crio/redis:latest"),
        ("Upper/redis", "Upper/redis:latest"),
        ("host:5000/a/b:c", "host:5000/a/b:c"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"redis@{SUM}", f"docker.io/library/redis@{SUM}"),
        (f"redis:7@{SUM}", f"docker.io/library/redis:7@{SUM}"),
        ("a__b/c---d", "docker.io/a__b/c---d:latest"),
    ],
)
def test_a_familiar_name_is_completed(text: str, canonical: str) -> None:
    assert str(parse_reference(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Redis",
        "redis:",
        ":tag",
        "redis@",
        "redis@sha256:abc",
        "redis:a b",
        "redis\n",
        "redis:tag\n",
        "/redis",
        "a//b",
        "a/",
        "../etc",
        "a/../b",
        "-a.io/b",
        "a_b.io/c",
        "host:port/a",
        "https://quay.io/redis",
        "a" * 64,
        "docker.io/" + "a" * 250,
        "redis:" + "a" * 129,
        "rédis",
        "redis:٣",
    ],
)
def test_what_is_no_reference_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_reference(text)
    assert "\n" not in caught.value.message


def test_a_reference_can_be_pointed_elsewhere_in_its_repository() -> None:
    ref = parse_reference("quay.io/a/b:1")
    assert ref.name == "quay.io/a/b"
    assert str(ref.with_digest(SUM)) == f"quay.io/a/b@{SUM}"
    assert str(ref.with_digest(SUM).with_tag("2")) == "quay.io/a/b:2"
    with pytest.raises(InvalidArgument):
        ref.with_tag("a/b")
