"""From a name to endpoints: the rules of containers-registries.conf(5), as a function."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.registry.endpoints import find_endpoints, find_home, resolve_name
from rundlet.spec.reference import parse_reference
from rundlet.spec.registries import RegistriesConf, merge_registries, parse_registries

SUM = "sha256:" + "ab" * 32
CONF = """
[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar"
[[registry.mirror]]
location = "mirror-0.example/mirror-for-foo"
timeout = "5s"
[[registry.mirror]]
location = "mirror-1.example:5000/mirrors/foo"
insecure = true

[[registry]]
prefix = "example.com/foo/secret"
location = "example.com/foo/secret"
blocked = true

[[registry]]
location = "digests.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "mirror.example"

[[registry]]
location = "choosy.example"
[[registry.mirror]]
location = "by-digest.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "by-tag.example"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "*.wild.example"
insecure = true

[[registry]]
prefix = "*.deep.wild.example"
location = "wild-mirror.example/all"

[[registry]]
prefix = "docker.io/library"
location = "hub-mirror.example/library"
"""


def conf(text=CONF):
    return merge_registries([parse_registries(text, "r.conf")])


@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "example.com/foo/app:v1",
            [
                "mirror-0.example/mirror-for-foo/app:v1",
                "mirror-1.example:5000/mirrors/foo/app:v1",
                "internal.example/bar/app:v1",
            ],
        ),
        ("example.com/food/app:v1", ["example.com/food/app:v1"]),
        (
            "example.com/foo:v1",
            [
                "mirror-0.example/mirror-for-foo:v1",
                "mirror-1.example:5000/mirrors/foo:v1",
                "internal.example/bar:v1",
            ],
        ),
        ("digests.example/app:v1", ["digests.example/app:v1"]),
        (f"digests.example/app@{SUM}", [f"mirror.example/app@{SUM}", f"digests.example/app@{SUM}"]),
        ("choosy.example/app:v1", ["by-tag.example/app:v1", "choosy.example/app:v1"]),
        (f"choosy.example/app@{SUM}", [f"by-digest.example/app@{SUM}", f"choosy.example/app@{SUM}"]),
        ("a.wild.example/app:v1", ["a.wild.example/app:v1"]),
        ("a.b.deep.wild.example/app:v1", ["wild-mirror.example/all/app:v1"]),
        ("wild.example/app:v1", ["wild.example/app:v1"]),
        ("redis", ["hub-mirror.example/library/redis:latest"]),
        ("docker.io/team/redis", ["docker.io/team/redis:latest"]),
    ],
)
def test_where_a_name_is_looked_for(name, places):
    assert [str(each.reference) for each in find_endpoints(conf(), parse_reference(name))] == places


def test_what_is_said_of_an_endpoint():
    first, second, last = find_endpoints(conf(), parse_reference("example.com/foo/app"))
    assert (first.is_mirror, first.insecure, first.timeout_s) == (True, False, 5.0)
    assert (second.is_mirror, second.insecure, second.timeout_s) == (True, True, None)
    assert (last.is_mirror, last.insecure) == (False, False)
    assert find_endpoints(conf(), parse_reference("a.wild.example/x"))[0].insecure


def test_a_blocked_registry_is_refused_for_everything():
    blocked = parse_reference("example.com/foo/secret/app")
    for find in (find_endpoints, find_home):
        with pytest.raises(PermissionDenied, match="blocks example.com/foo/secret"):
            find(conf(), blocked)


def test_a_push_goes_to_the_registry_of_the_name():
    reference = parse_reference("example.com/foo/app")
    assert find_home(conf(), reference).reference == reference
    assert find_home(conf(), parse_reference("a.wild.example/x")).insecure


def test_a_location_must_leave_a_host():
    text = '[[registry]]\nprefix = "example.com"\nlocation = "nohost"\n'
    with pytest.raises(InvalidArgument, match="names no host"):
        find_endpoints(conf(text), parse_reference("example.com/app"))


SEARCH = RegistriesConf(search=("a.example", "b.example:5000"), aliases={"app": "quay.io/team/app"})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("app:v1", ["quay.io/team/app:v1"]),
        (f"app@{SUM}", [f"quay.io/team/app@{SUM}"]),
        ("app", ["quay.io/team/app:latest"]),
        ("other", ["a.example/other:latest", "b.example:5000/other:latest"]),
        ("team/other:v2", ["a.example/team/other:v2", "b.example:5000/team/other:v2"]),
        ("quay.io/app", ["quay.io/app:latest"]),
        ("localhost/app", ["localhost/app:latest"]),
    ],
)
def test_short_names(text, names):
    assert [str(name) for name in resolve_name(SEARCH, text)] == names


def test_short_names_by_mode():
    for mode in ("permissive", "disabled"):
        assert len(resolve_name(SEARCH._replace(short_name_mode=mode), "other")) == 2
    enforcing = SEARCH._replace(short_name_mode="enforcing")
    with pytest.raises(InvalidArgument, match="ambiguous: it may come from a.example or b.example:5000"):
        resolve_name(enforcing, "other")
    assert len(resolve_name(enforcing._replace(search=("a.example",)), "other")) == 1
    with pytest.raises(InvalidArgument, match="no registry is searched"):
        resolve_name(SEARCH._replace(search=()), "other")


def test_where_nobody_says_anything_docker_io_is_meant():
    assert [str(name) for name in resolve_name(RegistriesConf(), "redis")] == [
        "docker.io/library/redis:latest"
    ]


HOSTS = st.sampled_from(["example.com", "a.wild.example", "digests.example", "choosy.example", "x.org:5000"])
PATHS = st.lists(st.sampled_from(["foo", "foo-d", "bar", "secret"]), min_size=1, max_size=3).map("/".join)


@given(HOSTS, PATHS, st.sampled_from([":v1", f"@{SUM}", ""]))
def test_every_endpoint_is_a_complete_reference(host, path, suffix):
    reference = parse_reference(f"{host}/{path}{suffix}")
    try:
        endpoints = find_endpoints(conf(), reference)
    except PermissionDenied:
        assert str(reference).startswith("example.com/foo/secret")
        return
    assert not endpoints[-1].is_mirror
    assert all(each.is_mirror for each in endpoints[:-1])
    for endpoint in endpoints:
        assert parse_reference(str(endpoint.reference)) == endpoint.reference
        assert (endpoint.reference.tag, endpoint.reference.digest) == (reference.tag, reference.digest)
