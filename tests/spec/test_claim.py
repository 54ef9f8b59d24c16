"""What a signature says: read strictly, written so that others read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.claim import SIGSTORE_TYPE, SIMPLE_TYPE, Claim, format_claim, parse_claim
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

DIGEST = Digest.of(b"manifest")


def document(**changes):
    return {
        "critical": {
            "type": SIMPLE_TYPE,
            "image": {"docker-manifest-digest": str(DIGEST)},
            "identity": {"docker-reference": "quay.io/x:v1"},
        },
        "optional": {"creator": "somebody", "timestamp": 1458239713, "more": [1]},
        **changes,
    }


def parse(value, kind=SIMPLE_TYPE):
    return parse_claim(json.dumps(value).encode(), kind, "payload")


def test_a_claim():
    assert parse(document()) == Claim(DIGEST, parse_reference("quay.io/x:v1"), "somebody", 1458239713)
    assert parse(document(optional=None)).creator == ""
    assert parse(document(optional={})).timestamp_s == 0
    bare = document()
    bare["critical"]["identity"]["docker-reference"] = "busybox"
    assert str(parse(bare).reference) == "docker.io/library/busybox"


def critical(**changes):
    return document(critical={**document()["critical"], **changes})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected object"),
        ({}, "missing required field"),
        ({"critical": document()["critical"]}, "missing required field optional"),
        (document(extra=1), "unknown field extra"),
        (critical(extra=1), "critical: object contains unknown field extra"),
        (critical(type=SIGSTORE_TYPE), "critical.type: expected 'atomic"),
        (critical(image={}), "critical.image: object missing"),
        (critical(image={"docker-manifest-digest": "sha256:x"}), "64 lower-case"),
        (
            critical(image={"docker-manifest-digest": str(DIGEST), "x": 1}),
            "critical.image: object contains unknown",
        ),
        (critical(identity={"docker-reference": "A b"}), "image reference"),
        (critical(identity={"docker-reference": 5}), "critical.identity.docker-reference: expected str"),
        (document(optional={"timestamp": "now"}), "optional.timestamp: expected"),
        (document(optional={"timestamp": 1.5}), "optional.timestamp: expected whole seconds"),
        (document(optional={"creator": 1}), "optional.creator: expected str"),
    ],
)
def test_anything_else_is_refused(value, message):
    with pytest.raises(InvalidArgument) as caught:
        parse(value)
    assert message in caught.value.message


def test_a_doubled_key_is_refused():
    raw = json.dumps(document()).replace('"critical":', '"critical": {}, "critical":', 1)
    with pytest.raises(InvalidArgument, match="stands twice"):
        parse_claim(raw.encode(), SIMPLE_TYPE, "payload")


@given(
    st.sampled_from([SIMPLE_TYPE, SIGSTORE_TYPE]),
    st.binary(max_size=4),
    st.sampled_from(["q.io/x:v1", "q.io/x", f"q.io/x@{DIGEST}"]),
    st.integers(0, 1 << 40),
)
def test_claims_come_back(kind, content, name, timestamp_s):
    claim = Claim(Digest.of(content), parse_reference(name, default_tag=""), "tests", timestamp_s)
    assert parse_claim(format_claim(claim, kind), kind, "payload") == claim


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings_are_refused(encoding):
    with pytest.raises(InvalidArgument, match="payload: "):
        parse_claim(json.dumps(document()).encode(encoding), SIMPLE_TYPE, "payload")


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_one_error(raw):
    with pytest.raises(InvalidArgument, match="payload"):
        parse_claim(raw, SIMPLE_TYPE, "payload")
