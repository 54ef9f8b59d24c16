"""auth.json in its order, credential helpers, and log-ins written back."""

import base64
import json
import os
import stat

import pytest

from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, InvalidArgument, NotFound
from rundlet.registry import helper
from rundlet.registry.client import Credentials
from rundlet.registry.credentials import find_credentials
from rundlet.registry.login import LoginFile, find_login, remove_all_logins, remove_login, store_login
from rundlet.registry.places import AuthPlace, find_places

# A helper that keeps what it is given in a file beside itself.
HELPER = """#!/bin/sh
kept="$(dirname "$0")/kept-$(basename "$0")"
given="$(cat)"
case "$1" in
get) [ -f "$kept" ] && cat "$kept" || { echo "credentials not found in native keychain"; exit 1; } ;;
store) printf %s "$given" > "$kept" ;;
erase) [ -f "$kept" ] && rm "$kept" || { echo "credentials not found in native keychain"; exit 1; } ;;
list) [ -f "$kept" ] && echo '{"quay.io": "u"}' || echo '{}' ;;
esac
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A directory in PATH; call it with a helper's name and text."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def make(name, text=HELPER):
        path = directory / f"docker-credential-{name}"
        path.write_text(text)
        path.chmod(0o755)
        return directory

    return make


def auth(user, password="pw"):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return AuthPlace(str(path))


def test_files_are_asked_in_the_order_of_the_man_page(tmp_path):
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    places = find_places(environ, uid=1000)
    assert [place.path.removeprefix(f"{tmp_path}/") for place in places.auth] == [
        "run/containers/auth.json",
        ".config/containers/auth.json",
        ".docker/config.json",
        ".dockercfg",
    ]
    write(tmp_path / ".dockercfg", {"quay.io": auth("fourth")})
    assert find_credentials("quay.io/app", places.auth).username == "fourth"
    write(tmp_path / ".docker/config.json", {"auths": {"quay.io": auth("third")}})
    assert find_credentials("quay.io/app", places.auth).username == "third"
    write(tmp_path / "run/containers/auth.json", {"auths": {"quay.io": auth("first")}})
    assert find_credentials("quay.io/app", places.auth).username == "first"
    named = find_places({**environ, "REGISTRY_AUTH_FILE": "/x/auth.json"}, uid=0)
    assert named.auth == (AuthPlace("/x/auth.json"),)
    assert find_places({"HOME": "/h"}, uid=7).auth[0].path == "/run/containers/7/auth.json"


def test_an_identity_token_and_an_empty_entry(tmp_path):
    place = write(
        tmp_path / "a.json",
        {"auths": {"a.example": {**auth("<token>", ""), "identitytoken": "tok"}, "b.example": {}}},
    )
    assert find_credentials("a.example/x", (place,)).identity_token == "tok"
    assert find_credentials("b.example/x", (place,)) is None


def test_a_helper_named_for_a_registry_is_asked(tmp_path, programs):
    programs("keep")
    place = write(tmp_path / "a.json", {"credHelpers": {"quay.io": "keep"}})
    assert find_credentials("quay.io/team/app", (place,)) is None
    helper.store_credentials("keep", "quay.io", "me", "pw")
    assert find_credentials("quay.io/team/app", (place,)) == Credentials("me", "pw")
    helper.store_credentials("keep", "quay.io", "<token>", "tok")
    assert find_credentials("quay.io/team/app", (place,)) == Credentials(identity_token="tok")
    store = write(tmp_path / "b.json", {"credsStore": "keep", "auths": {"quay.io": {}}})
    assert find_credentials("quay.io/app", (store,)).identity_token == "tok"


def test_a_failing_source_is_told_only_when_no_other_knows(tmp_path, programs):
    programs("broken", "#!/bin/sh\necho 'vault is sealed'\nexit 1\n")
    place = write(tmp_path / "a.json", {"auths": {"quay.io": auth("me")}})
    helpers = ("broken", "containers-auth.json")
    assert find_credentials("quay.io/x", (place,), helpers).username == "me"
    with pytest.raises(FailedPrecondition, match="docker-credential-broken get: vault is sealed"):
        find_credentials("other.example/x", (place,), helpers)


def test_a_helper_that_is_missing_hangs_or_has_a_path_is_one_clear_error(programs, monkeypatch):
    with pytest.raises(FailedPrecondition, match="docker-credential-nowhere: no such file"):
        helper.get_credentials("nowhere", "quay.io")
    with pytest.raises(InvalidArgument, match="expected a name"):
        helper.get_credentials("../../bin/sh", "quay.io")
    programs("slow", "#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(helper, "_TIMEOUT_S", 0.2)
    with pytest.raises(DeadlineExceeded, match="docker-credential-slow get: no answer"):
        helper.get_credentials("slow", "quay.io")


def test_an_unreadable_file_is_not_taken_for_a_missing_one(tmp_path):
    (tmp_path / "a.json").write_text('{"auths": "secret"')
    with pytest.raises(InvalidArgument, match=r"a\.json") as caught:
        find_credentials("quay.io/x", (AuthPlace(str(tmp_path / "a.json")),))
    assert "secret" not in str(caught.value)


# --- log-ins -------------------------------------------------------------------------


def test_a_log_in_is_found_again_and_removed(tmp_path):
    target = LoginFile(str(tmp_path / "new/dir/auth.json"))
    assert store_login(target, "quay.io/team", "me", "pass:word") == target.path
    assert stat.S_IMODE(os.stat(target.path).st_mode) == 0o600
    assert find_login(target, "quay.io/team") == "me"
    assert find_credentials("quay.io/team/app", (AuthPlace(target.path),)) == Credentials("me", "pass:word")
    with pytest.raises(NotFound, match="not logged in to quay.io"):
        find_login(target, "quay.io")
    remove_login(target, "quay.io/team")
    with pytest.raises(NotFound, match="not logged in"):
        remove_login(target, "quay.io/team")
    assert os.listdir(tmp_path / "new/dir") == ["auth.json"]


def test_what_a_log_in_does_not_know_stays(tmp_path):
    place = write(
        tmp_path / "a.json", {"auths": {"x": auth("x")}, "HttpHeaders": {"A": "b"}, "psFormat": "t"}
    )
    store_login(LoginFile(place.path), "quay.io", "me", "pw")
    document = json.loads((tmp_path / "a.json").read_text())
    assert sorted(document["auths"]) == ["quay.io", "x"]
    assert document["HttpHeaders"] == {"A": "b"}
    remove_all_logins(LoginFile(place.path))
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["auths"] == {}
    assert document["psFormat"] == "t"


def test_docker_s_own_key_for_its_hub(tmp_path):
    target = LoginFile(str(tmp_path / "config.json"), docker_compatible=True)
    store_login(target, "docker.io", "me", "pw")
    assert list(json.loads((tmp_path / "config.json").read_text())["auths"]) == [
        "https://index.docker.io/v1/"
    ]
    assert find_login(target, "docker.io") == "me"
    remove_login(target, "docker.io")


def test_log_ins_by_helper(tmp_path, programs):
    directory = programs("keep")
    place = write(tmp_path / "a.json", {"credHelpers": {"quay.io": "keep"}})
    target = LoginFile(place.path)
    assert store_login(target, "quay.io", "me", "pw") == "credential helper keep"
    assert "auths" not in json.loads((tmp_path / "a.json").read_text())
    assert (directory / "kept-docker-credential-keep").exists()
    assert find_login(target, "quay.io") == "me"
    remove_login(target, "quay.io")
    assert not (directory / "kept-docker-credential-keep").exists()
    everywhere = LoginFile(place.path, ("keep",))
    store_login(everywhere, "quay.io", "me", "pw")
    with pytest.raises(InvalidArgument, match="whole registries only"):
        store_login(everywhere, "quay.io/team", "me", "pw")
    remove_all_logins(everywhere)
    assert helper.list_registries("keep") == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    place = write(tmp_path / "a.json", {"auths": {"x": auth("x")}})
    before = (tmp_path / "a.json").read_bytes()
    (tmp_path / f"a.json.{os.getpid()}.new").mkdir()
    with pytest.raises(Error, match=r"write .*a\.json: is a directory"):
        store_login(LoginFile(place.path), "quay.io", "me", "pw")
    assert (tmp_path / "a.json").read_bytes() == before
