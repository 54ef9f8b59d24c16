"""registries.conf: every rule of containers-registries.conf(5), each fault with its path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.registries import Mirror, Registry, merge_registries, parse_registries

EXAMPLE = """
unqualified-search-registries = ["example.com", "registry.other.example:5000"]
short-name-mode = "enforcing"
credential-helpers = ["pass"]
additional-layer-store-auth-helper = "helper"

[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar/"
insecure = true
[[registry.mirror]]
location = "mirror.example/foo"
timeout = "1.5s"
[[registry.mirror]]
location = "mirror2.example"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
prefix = "*.wild.example"

[aliases]
"busybox" = "docker.io/library/busybox"
"team/app" = "quay.io/team/app"
"""


def test_a_whole_file():
    file = parse_registries(EXAMPLE, "r.conf")
    first, second = file.registries
    assert first == Registry(
        prefix="example.com/foo",
        location="internal.example/bar",
        insecure=True,
        mirrors=(
            Mirror(location="mirror.example/foo", timeout="1.5s"),
            Mirror(location="mirror2.example", insecure=True, pull_from_mirror="digest-only"),
        ),
    )
    assert first.mirrors[0].timeout_s == 1.5
    assert (second.prefix, second.location) == ("*.wild.example", "")
    assert file.search == ("example.com", "registry.other.example:5000")
    assert file.short_name_mode == "enforcing"
    assert file.credential_helpers == ("pass",)
    assert file.aliases["team/app"] == "quay.io/team/app"


def test_what_has_no_effect_is_told():
    text = 'future = 1\n[[registry]]\nlocation = "a.example"\nblokced = true\n[[registry.mirror]]\nlocation = "b"\nx = 1\n'
    assert sorted(parse_registries(text, "r.conf").notices) == [
        "r.conf: future: unknown key",
        "r.conf: registry[0].blokced: unknown key",
        "r.conf: registry[0].mirror[0].x: unknown key",
    ]
    (notice,) = parse_registries(EXAMPLE, "r.conf").notices
    assert "additional-layer-store-auth-helper" in notice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "r.conf: "),
        ("[[registry]]\ninsecure = true\n", r"registry\[0\]: neither prefix nor location"),
        ('[[registry]]\nprefix = "a.example"\n', r"registry\[0\].location: missing"),
        ('[[registry]]\nlocation = "https://a.example"\n', r"registry\[0\].location: expected a host"),
        ('[[registry]]\nprefix = "*.a.example/x"\n', r"registry\[0\].prefix: after a wildcard"),
        (
            '[[registry]]\nprefix = "a.*.example"\nlocation = "b"\n',
            r"registry\[0\].prefix: a misplaced wildcard",
        ),
        (
            '[[registry]]\nlocation = "a"\n[[registry.mirror]]\n',
            r"registry\[0\].mirror\[0\].location: missing",
        ),
        (
            '[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "never"\n',
            r"registry\[0\].mirror\[0\].pull-from-mirror: invalid",
        ),
        (
            (
                '[[registry]]\nlocation = "a"\nmirror-by-digest-only = true\n'
                '[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "all"\n'
            ),
            r"registry\[0\].mirror\[0\].pull-from-mirror: not beside",
        ),
        (
            '[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\ntimeout = "soon"\n',
            r"mirror\[0\].timeout: expected a duration",
        ),
        (
            '[[registry]]\nlocation = "a"\n[[registry]]\nprefix = "b"\nlocation = "a"\ninsecure = true\n',
            "a is there twice with different 'insecure'",
        ),
        ("[[registry]]\nlocation = 5\n", r"registry\[0\].location: expected str"),
        ('unqualified-search-registries = ["a/b"]\n', r"unqualified-search-registries\[0\]: expected a host"),
        ('short-name-mode = "maybe"\n', "short-name-mode: invalid"),
        ('[aliases]\n"quay.io/x" = "quay.io/y"\n', "aliases.quay.io/x: a short name has no registry"),
        ('[aliases]\nx = "y"\n', "aliases.x: expected a name with its registry"),
        ('[aliases]\nx = "quay.io/y:tag"\n', "aliases.x: neither a tag nor a digest"),
        ('[aliases]\n"x:v1" = "quay.io/y"\n', "aliases.x:v1: neither a tag nor a digest"),
        (
            'unqualified-search-registries = ["a"]\n[registries.search]\nregistries = ["b"]\n',
            "registries: versions 1 and 2",
        ),
    ],
)
def test_faults_name_their_place(text, message):
    with pytest.raises(InvalidArgument, match=message):
        parse_registries(text, "r.conf")


def test_the_first_table_of_a_prefix_counts_and_the_others_must_not_contradict_it():
    tables = '[[registry]]\nprefix = "a.example"\nlocation = "b"\n[[registry]]\nprefix = "a.example"\nlocation = "c"\n'
    (found,) = parse_registries(tables, "r.conf").registries
    assert found.location == "b"
    twice = '[[registry]]\nlocation = "a.example"\nblocked = true\n[[registry]]\nlocation = "a.example"\n'
    with pytest.raises(InvalidArgument, match="a.example is there twice with different 'blocked'"):
        parse_registries(twice, "r.conf")


def test_version_1_in_the_main_file_only():
    text = (
        '[registries.search]\nregistries = ["a.example"]\n[registries.insecure]\nregistries = ["b.example"]\n'
        '[registries.block]\nregistries = ["c.example"]\n'
    )
    file = parse_registries(text, "r.conf")
    assert file.search == ("a.example",)
    assert [(one.prefix, one.insecure, one.blocked) for one in file.registries] == [
        ("b.example", True, False),
        ("c.example", False, True),
    ]
    with pytest.raises(InvalidArgument, match="a drop-in must be in version 2"):
        parse_registries(text, "d.conf", drop_in=True)


def test_later_files_win():
    first = parse_registries(EXAMPLE, "r.conf")
    text = '[[registry]]\nprefix = "example.com/foo"\nlocation = "new.example"\n[aliases]\nbusybox = ""\n'
    merged = merge_registries([first, parse_registries(text, "d.conf", drop_in=True)])
    assert [one.location for one in merged.registries] == ["", "new.example"]
    assert "busybox" not in merged.aliases
    assert merged.search == first.search
    assert merged.short_name_mode == "enforcing"
    emptied = merge_registries([first, parse_registries("unqualified-search-registries = []\n", "d.conf")])
    assert emptied.search == ()


def test_without_files():
    conf = merge_registries([])
    assert (conf.search, conf.short_name_mode) == (None, "permissive")
    assert conf.credential_helpers == ("containers-auth.json",)


VALUES = st.recursive(
    st.booleans() | st.integers(0, 9).map(str) | st.sampled_from(['"a.example"', '"*.a"', '""', '"x y"']),
    lambda inner: st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(map(str, items))}]"),
    max_leaves=3,
)
KEYS = st.sampled_from(
    ["prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only", "pull-from-mirror"]
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_any_table_parses_or_says_why(table, mirrored):
    lines = [f"{key} = {str(value).lower()}" for key, value in table.items()]
    head = "[[registry]]\nlocation = 'a'\n[[registry.mirror]]" if mirrored else "[[registry]]"
    try:
        parse_registries("\n".join([head, *lines]), "r.conf")
    except InvalidArgument as error:
        assert error.message.startswith("r.conf: ")
