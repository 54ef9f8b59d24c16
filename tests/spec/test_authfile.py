"""auth.json: which entry is meant, and no secret in any error."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.authfile import AuthEntry, check_key, decode_auth, encode_auth, find_entry, parse_auth_file
from rundlet.spec.json import encode


def entries(*keys):
    auths = {key: encode_auth("user", key) for key in keys}
    return parse_auth_file(encode({"auths": auths}), "auth.json")


@pytest.mark.parametrize(
    ("keys", "wanted", "found"),
    [
        (["quay.io"], "quay.io/team/app", "quay.io"),
        (["quay.io", "quay.io/team", "quay.io/team/app"], "quay.io/team/app", "quay.io/team/app"),
        (["quay.io", "quay.io/team"], "quay.io/team/other", "quay.io/team"),
        (["quay.io/tea"], "quay.io/team/app", None),
        (["https://index.docker.io/v1/"], "docker.io/library/redis", "https://index.docker.io/v1/"),
        (["https://registry.example/v2/"], "registry.example/app", "https://registry.example/v2/"),
        (["registry.example:5000"], "registry.example/app", None),
    ],
)
def test_the_longest_key_wins(keys, wanted, found):
    entry = find_entry(entries(*keys), wanted)
    assert (entry and entry[0]) == found


def test_dockercfg_holds_registries_alone():
    raw = encode({"https://quay.io/v1/": encode_auth("a", "b")})
    file = parse_auth_file(raw, ".dockercfg", legacy=True)
    key, entry = find_entry(file, "quay.io/team/app", legacy=True)
    assert key == "https://quay.io/v1/"
    assert decode_auth(entry, "x") == ("a", "b")


def test_tokens_and_helpers_are_read():
    file = parse_auth_file(
        b'{"auths": {"a": {"auth": null, "identitytoken": "t"}}, "credHelpers": {"b": "pass"}, "HttpHeaders": {}}',
        "x",
    )
    assert file.auths["a"].identitytoken == "t"
    assert file.cred_helpers == {"b": "pass"}
    assert parse_auth_file(b" \n", "x").auths == {}


@pytest.mark.parametrize("auth", ["not base64 secret!", base64.b64encode(b"secret").decode(), "////"])
def test_a_malformed_entry_does_not_show_its_secret(auth):
    with pytest.raises(InvalidArgument) as caught:
        decode_auth(AuthEntry(auth=auth), "auth.json: auths.a")
    assert caught.value.message == "auth.json: auths.a: auth: not base64 of user:password" or auth not in str(
        caught.value
    )
    assert "secret" not in repr(AuthEntry(auth=auth))


@given(
    st.text(alphabet=st.characters(exclude_characters=":", codec="utf-8"), max_size=9), st.text(max_size=9)
)
def test_log_ins_come_back(user, password):
    entry = AuthEntry(auth=encode_auth(user, password)["auth"])
    assert decode_auth(entry, "x") == (user, password.rstrip("\0"))


@pytest.mark.parametrize("key", ["", "https://quay.io", "quay.io/a:v1", "quay.io/a@sha256:0", "quay.io/"])
def test_keys_are_registries_or_repositories(key):
    with pytest.raises(InvalidArgument):
        check_key(key)
