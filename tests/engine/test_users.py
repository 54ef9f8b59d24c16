"""passwd(5) and group(5) → numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.engine.options import Security
from rundlet.engine.users import check_user, needs_files, parse_group, parse_passwd, resolve_identity
from rundlet.errors import InvalidArgument

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
# a comment
redis:x:999:1000:Redis:/data:/bin/false
broken:x:nine:1:::
short:x:1
1234:x:77:78::/odd:/bin/sh
"""
GROUP = b"""\
root:x:0:
redis:x:1000:
tape:x:50000:redis,other
audio:x:29:other
lost:x:-1:redis
"""


def resolve(image_user: str = "", **security: object):
    return resolve_identity(Security(**security), image_user, PASSWD, GROUP)


def test_root_is_the_default_and_needs_no_files():
    identity = resolve_identity(Security(), "", b"", b"")
    assert (identity.uid, identity.gid, identity.groups, identity.home) == (0, 0, (0,), "/")
    assert not needs_files(Security(), "")
    assert needs_files(Security(), "redis")


@pytest.mark.parametrize(
    ("image_user", "expected"),
    [
        ("redis", (999, 1000, (1000, 50000))),
        ("999", (999, 1000, (1000, 50000))),
        ("999:audio", (999, 29, (29, 50000))),
        ("999:7", (999, 7, (7, 50000))),
        ("redis:", (999, 1000, (1000, 50000))),
        ("4242", (4242, 0, (0,))),
        (":audio", (0, 29, (29,))),
        ("1234", (77, 78, (78,))),  # a name of digits wins over the number
    ],
)
def test_user_of_the_image(image_user, expected):
    assert resolve(image_user)[:3] == expected


def test_options_win_over_the_image():
    assert resolve("redis", user_id=0)[:3] == (0, 0, (0,))
    assert resolve("0:0", user_name="redis")[:3] == (999, 1000, (1000, 50000))
    assert resolve("redis:audio", user_id=999, group_id=5)[:3] == (999, 5, (5, 50000))


def test_supplemental_groups_merge_with_those_of_the_image_or_not():
    merged = resolve("redis", supplemental_groups=(1234, 50000))
    strict = resolve("redis", supplemental_groups=(1234,), supplemental_groups_policy="strict")
    assert merged.groups == (1000, 50000, 1234)
    assert strict.groups == (1000, 1234)


def test_home_comes_from_passwd():
    assert resolve("redis").home == "/data"
    assert resolve("4242").home == "/"


@pytest.mark.parametrize("image_user", ["nobody", "0:wheel", "-1", "4294967295"])
def test_unknown_names_are_errors(image_user):
    with pytest.raises(InvalidArgument):
        resolve(image_user)


@pytest.mark.parametrize(
    "security",
    [
        {"group_id": 5},
        {"user_id": 1, "user_name": "redis"},
        {"user_id": -1},
        {"user_id": 1, "supplemental_groups": (2**32,)},
    ],
)
def test_wrong_combinations(security):
    with pytest.raises(InvalidArgument, match=r"^security\."):
        check_user(Security(**security), "security")


@given(st.binary(max_size=300))
def test_any_bytes_parse(raw):
    for user in parse_passwd(raw):
        assert user.name
        assert 0 <= user.uid < 2**32 - 1
    for group in parse_group(raw):
        assert group.name
        assert 0 <= group.gid < 2**32 - 1
