import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.digest import Digest, digest_hasher, parse_digest


@given(data=st.binary(), algorithm=st.sampled_from(["sha256", "sha512"]))
def test_a_digest_survives_its_text(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert digest.hex == hashlib.new(algorithm, data).hexdigest()
    assert parse_digest(str(digest)) == digest


def test_a_hasher_takes_content_in_parts() -> None:
    hasher = digest_hasher("sha256")
    hasher.update(b"ab")
    hasher.update(b"c")
    assert hasher.hexdigest() == Digest.of(b"abc").hex


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        "SHA256:" + "a" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63 + "\n",
        "sha256:" + "a" * 64 + "\n",
        "sha512:" + "a" * 64,
        "blake3:" + "a" * 64,
        "sha256:../../../etc/passwd",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_digest(text)


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(InvalidArgument, match="md5"):
        Digest.of(b"", "md5")
