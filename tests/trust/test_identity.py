"""Scopes of images, and which of a policy's requirements count."""

import pytest

from rundlet.spec.policy import AcceptAnything, Policy, Reject
from rundlet.spec.reference import parse_reference
from rundlet.trust.identity import (
    docker_identity,
    find_requirements,
    path_identity,
    plain_identity,
    store_identity,
)

SUM = "sha256:" + "ab" * 32
YES, NO = (AcceptAnything(),), (Reject(),)


def scopes(name):
    return docker_identity(parse_reference(name)).scopes


def test_an_image_in_a_registry():
    assert scopes("a.b.example:5000/x/y:v1") == (
        "a.b.example:5000/x/y:v1",
        "a.b.example:5000/x/y",
        "a.b.example:5000/x",
        "a.b.example:5000",
        "*.b.example",
        "*.example",
    )
    assert scopes(f"busybox@{SUM}")[:2] == (f"docker.io/library/busybox@{SUM}", "docker.io/library/busybox")
    assert scopes(f"quay.io/x:v1@{SUM}")[0] == f"quay.io/x@{SUM}"
    assert scopes("localhost/x")[-1] == "localhost"


def test_an_image_at_a_path(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    found = path_identity("oci", str(tmp_path / "link")).scopes
    assert found[0] == f"{tmp_path}/real"
    assert found[1] == str(tmp_path)
    assert found[-1].count("/") == 1
    assert path_identity("dir", "/").scopes == ()


def test_an_image_in_the_store():
    identity = store_identity("/var/lib/rundlet", parse_reference("quay.io/x:v1"), SUM)
    assert identity.scopes == (
        f"[overlay@/var/lib/rundlet]quay.io/x:v1@{'ab' * 32}",
        "[overlay@/var/lib/rundlet]quay.io/x:v1",
        "[overlay@/var/lib/rundlet]quay.io/x",
        "[overlay@/var/lib/rundlet]quay.io",
        "[overlay@/var/lib/rundlet]",
        "[/var/lib/rundlet]",
    )
    assert store_identity("/r", None, "cd" * 32).scopes[0] == f"[overlay@/r]@{'cd' * 32}"


@pytest.mark.parametrize(
    ("scope", "name", "accepted"),
    [
        ("quay.io", "quay.io/x", True),
        ("quay.io", "quay.io:5000/x", False),
        ("quay.io/x", "quay.io/xy", False),
        ("quay.io/x:v1", "quay.io/x:v1", True),
        ("quay.io/x:v1", "quay.io/x:v2", False),
        ("*.example.com", "a.b.example.com/x", True),
        ("*.example.com", "example.com/x", False),
        ("*.example.com", "a.example.com:5000/x", True),
        ("", "anything.example/x", True),
    ],
)
def test_a_scope_covers_what_lies_below_it(scope, name, accepted):
    applied = find_requirements(Policy(NO, {"docker": {scope: YES}}), docker_identity(parse_reference(name)))
    assert (applied.requirements == YES) is accepted


def test_the_most_specific_scope_alone_counts():
    policy = Policy(YES, {"docker": {"": YES, "quay.io": NO, "quay.io/x": YES, "quay.io/x:v1": NO}})
    applied = find_requirements(policy, docker_identity(parse_reference("quay.io/x:v1")))
    assert (applied.requirements, applied.where) == (NO, "transports.docker['quay.io/x:v1']")
    assert find_requirements(policy, docker_identity(parse_reference("quay.io/x:v2"))).requirements == YES
    assert find_requirements(policy, docker_identity(parse_reference("quay.io/y"))).requirements == NO
    assert find_requirements(policy, plain_identity("tarball")).where == "default"
