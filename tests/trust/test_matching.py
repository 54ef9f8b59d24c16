"""All kinds of signedIdentity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.spec.policy import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)
from rundlet.spec.reference import parse_reference
from rundlet.trust.matching import matches, remap

SUM, OTHER = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32


def check(wanted, image, claimed):
    return matches(wanted, image and parse_reference(image), parse_reference(claimed, default_tag=""))


@pytest.mark.parametrize(
    ("image", "claimed", "exact", "digest_or_exact", "repository"),
    [
        ("q.io/x:v1", "q.io/x:v1", True, True, True),
        ("q.io/x:v1", "q.io/x:v2", False, False, True),
        ("q.io/x:v1", "q.io/x", False, False, True),
        ("q.io/x:v1", f"q.io/x@{SUM}", False, False, True),
        ("q.io/x:v1", "q.io/y:v1", False, False, False),
        ("q.io/x:v1", "other.io/x:v1", False, False, False),
        (f"q.io/x@{SUM}", "q.io/x:v1", False, True, True),
        (f"q.io/x@{SUM}", "q.io/x", False, True, True),
        (f"q.io/x@{SUM}", f"q.io/x@{SUM}", True, True, True),
        (f"q.io/x@{SUM}", f"q.io/x@{OTHER}", False, True, True),
        ("busybox", "docker.io/library/busybox:latest", True, True, True),
        ("busybox", "busybox:latest", True, True, True),
        (None, "q.io/x:v1", False, False, False),
    ],
)
def test_what_the_image_is_called(image, claimed, exact, digest_or_exact, repository):
    assert check(MatchExact(), image, claimed) is exact
    assert check(MatchRepoDigestOrExact(), image, claimed) is digest_or_exact
    assert check(MatchRepository(), image, claimed) is repository


@pytest.mark.parametrize("image", [None, "anything.example/else:v9"])
def test_what_the_policy_calls_it(image):
    assert check(ExactReference("q.io/x:v1"), image, "q.io/x:v1")
    assert not check(ExactReference("q.io/x:v1"), image, "q.io/x:v2")
    assert not check(ExactReference("q.io/x:v1"), image, "q.io/x")
    assert check(ExactRepository("q.io/x"), image, "q.io/x:v2")
    assert check(ExactRepository("q.io/x"), image, "q.io/x")
    assert not check(ExactRepository("q.io/x"), image, "q.io/xy:v1")


@pytest.mark.parametrize(
    ("prefix", "signed", "image", "claimed", "accepted"),
    [
        ("mirror.io/vendor", "vendor.io", "mirror.io/vendor/a/b:v1", "vendor.io/a/b:v1", True),
        ("mirror.io/vendor", "vendor.io", "mirror.io/vendor/a/b:v1", "mirror.io/vendor/a/b:v1", False),
        ("mirror.io/vendor", "vendor.io", "mirror.io/vendors/a:v1", "mirror.io/vendors/a:v1", True),
        ("mirror.io", "vendor.io/all", "mirror.io/a:v1", "vendor.io/all/a:v1", True),
        ("mirror.io", "vendor.io", "mirror.io:5000/a:v1", "vendor.io/a:v1", False),
        ("mirror.io/a", "vendor.io/b", "mirror.io/a:v1", "vendor.io/b:v1", True),
        ("mirror.io/a", "vendor.io/b", "mirror.io/a:v1", "vendor.io/b:v2", False),
        ("mirror.io/a", "vendor.io/b", f"mirror.io/a@{SUM}", "vendor.io/b:v2", True),
        ("mirror.io/a", "vendor.io", "mirror.io/a:v1", "mirror.io/a:v1", True),
    ],
)
def test_a_name_under_another_prefix(prefix, signed, image, claimed, accepted):
    assert check(RemapIdentity(prefix, signed), image, claimed) is accepted


NAMES = st.sampled_from(["a.io/x", "a.io/x/y", "a.io:5000/x", "b.io/x", "docker.io/library/x"])


@given(NAMES, st.sampled_from([":v1", f"@{SUM}", ""]), NAMES, st.sampled_from([":v1", f"@{SUM}", ""]))
def test_stricter_kinds_accept_less(image, suffix, claimed, claimed_suffix):
    image, claimed = image + suffix, claimed + claimed_suffix
    exact, usual, repository = (
        check(kind, image, claimed) for kind in (MatchExact(), MatchRepoDigestOrExact(), MatchRepository())
    )
    assert exact <= usual <= repository


@given(NAMES, NAMES)
def test_a_remap_to_itself_changes_nothing(image, prefix):
    reference = parse_reference(image)
    assert remap(RemapIdentity(prefix, prefix), reference) == reference
