"""registries.d: the most specific scope that says something."""

import pytest

from rundlet.errors import InvalidArgument
from rundlet.spec.reference import parse_reference
from rundlet.spec.registriesd import merge_registries_d, parse_registries_d

TEXT = """
default-docker:
  lookaside: https://default.example/s
docker:
  quay.io:
    lookaside: https://quay.example/s
    use-sigstore-attachments: true
  quay.io/team:
    sigstore: https://team.example/s
    sigstore-staging: file:///srv/staging
  quay.io/team/app:v1:
    use-sigstore-attachments: false
"""


def sections():
    return parse_registries_d(TEXT, "a.yaml")


@pytest.mark.parametrize(
    ("name", "reading", "writing", "attached"),
    [
        ("quay.io/team/app:v1", "https://team.example/s", "file:///srv/staging", False),
        ("quay.io/team/app:v2", "https://team.example/s", "file:///srv/staging", True),
        ("quay.io/other", "https://quay.example/s", "https://quay.example/s", True),
        ("quay.io.example/x", "https://default.example/s", "https://default.example/s", False),
    ],
)
def test_what_counts_for_an_image(name, reading, writing, attached):
    reference = parse_reference(name)
    assert sections().find_lookaside(reference) == reading
    assert sections().find_lookaside(reference, write=True) == writing
    assert sections().uses_attachments(reference) is attached


def test_nothing_is_configured():
    empty = parse_registries_d("# nothing\n", "a.yaml")
    assert empty.find_lookaside(parse_reference("quay.io/x")) == ""
    assert not empty.uses_attachments(parse_reference("quay.io/x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("docker: [", "a.yaml: "),
        (
            "docker:\n  a:\n    lokaside: x\n",
            r"a.yaml: docker\[...\]: object contains unknown field lokaside",
        ),
        ("docker:\n  a: {}\n  a: {}\n", "is there twice"),
        ("default-docker: 5\n", "a.yaml: default-docker: expected object"),
        ("docker:\n  a: {use-sigstore-attachments: maybe}\n", "expected bool"),
    ],
)
def test_faults_name_their_place(text, message):
    with pytest.raises(InvalidArgument, match=message):
        parse_registries_d(text, "a.yaml")


def test_two_files_must_not_speak_of_one_scope():
    one = parse_registries_d("docker: {quay.io: {}}\n", "a.yaml")
    with pytest.raises(InvalidArgument, match="b.yaml: quay.io: said in a.yaml already"):
        merge_registries_d([("a.yaml", one), ("b.yaml", one)])
