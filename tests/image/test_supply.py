"""A repair fetches by the way of any pull: mirrors, credentials, the policy."""

import base64
import json
import os

import pytest

from rundlet.errors import PermissionDenied
from rundlet.image.pull import pull_image, pull_remote
from rundlet.image.repair import repair_store
from rundlet.registry.access import Registries, Remote
from rundlet.registry.places import AuthPlace, find_places
from rundlet.spec.reference import parse_reference
from rundlet.store.check import check_places
from rundlet.store.store import Places, Store
from rundlet.trust.policyfile import PolicyFiles
from tests.image.conftest import SETTINGS, push
from tests.image.images import tar

NAME = "quay.invalid/team/app:1"


@pytest.fixture
def places(tmp_path):
    return Places(str(tmp_path / "root"), str(tmp_path / "run"))


@pytest.fixture
def mirrored(tmp_path, places, registry, client):
    """A store with an image of a registry that is not there, but its mirror; the mirror's registries.conf."""
    reference = f"{registry.address}/mirror/app:1"
    push(client, reference, [tar({"motd": b"hello"})])
    store = Store.open(places.root, places.run)
    pull_remote(store, Remote(parse_reference(NAME), parse_reference(reference), client))
    store.close()
    text = f"""
        [[registry]]
        prefix = "quay.invalid/team"
        location = "quay.invalid/team"
        [[registry.mirror]]
        location = "{registry.address}/mirror"
    """
    (tmp_path / "registries.conf").write_text(text)
    return {"registries_conf": str(tmp_path / "registries.conf")}


def lose_blobs(places):
    """All of them."""
    for at, _, files in os.walk(f"{places.root}/blobs"):
        for name in files:
            os.unlink(os.path.join(at, name))


def lose_blob(places):
    """The layer's blob."""
    names = [os.path.join(at, name) for at, _, files in os.walk(f"{places.root}/blobs") for name in files]
    os.unlink(max(names, key=os.path.getmtime))


def policy_files(tmp_path, scopes):
    document = {"default": [{"type": "reject"}], "transports": {"docker": scopes}}
    (tmp_path / "policy.json").write_text(json.dumps(document))
    return PolicyFiles(str(tmp_path / "policy.json"))


ACCEPT = [{"type": "insecureAcceptAnything"}]


def test_from_a_mirror(places, mirrored, make_supply):
    lose_blob(places)
    assert repair_store(places, make_supply(**mirrored), read_data=True).failed == ()
    assert check_places(places, read_data=True) == ()


def test_without_the_mirror_the_registry_is_asked_and_nothing_is_let_go(places, mirrored, supply):
    del mirrored
    lose_blob(places)
    report = repair_store(places, supply)
    assert [finding.kind for finding in report.left] == ["blob-missing"]
    assert "quay.invalid" in report.failed[0][1]


class LoggedIn:
    """A client of one account, as `push` takes one."""

    def __init__(self, remote):
        self._remote = remote

    def push_blob(self, reference, digest, data):
        self._remote.client.push_blob(reference, digest, data, self._remote.credentials)

    def push_manifest(self, reference, raw, media_type):
        return self._remote.client.push_manifest(reference, raw, media_type, self._remote.credentials)


def test_with_credentials(places, tmp_path, make_supply, make_debian_registry):
    crypt = pytest.importorskip("crypt")
    (tmp_path / "accounts").write_text(f"ann:{crypt.crypt('secret', '$2b$05$' + 'a' * 22)}\n")
    auth = f"auth: {{htpasswd: {{realm: test, path: {tmp_path / 'accounts'}}}}}"
    reference = parse_reference(f"{make_debian_registry(auth)}/team/app:1")
    pair = base64.b64encode(b"ann:secret").decode()
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {reference.domain: {"auth": pair}}}))
    found = find_places({"HOME": str(tmp_path)})._replace(auth=(AuthPlace(str(tmp_path / "auth.json")),))
    registries = Registries(SETTINGS, found)
    remote = registries.home(reference)
    push(LoggedIn(remote), str(reference), [tar({"motd": b"hello"})])
    store = Store.open(places.root, places.run)
    pull_image(store, remote.client, str(reference), credentials=remote.credentials)
    store.close()
    registries.close()
    lose_blobs(places)  # manifest and config, too
    assert "user name" in repair_store(places, make_supply()).failed[0][1]
    assert repair_store(places, make_supply(auth=found.auth)).failed == ()


@pytest.mark.parametrize("scope", ["quay.invalid", "quay.invalid/team/app", NAME])
def test_a_policy_that_lets_the_image_in(places, tmp_path, mirrored, make_supply, scope):
    """By its tag too, although what is fetched is a digest."""
    lose_blob(places)
    supply = make_supply(policy_files(tmp_path, {scope: ACCEPT}), **mirrored)
    assert repair_store(places, supply).failed == ()


def test_a_policy_that_refuses_the_image_now_fetches_and_drops_nothing(
    places, tmp_path, mirrored, make_supply
):
    lose_blob(places)
    supply = make_supply(policy_files(tmp_path, {"quay.invalid/other": ACCEPT}), **mirrored)
    report = repair_store(places, supply)
    assert [finding.kind for finding in report.left] == ["blob-missing"]
    assert "refused by the policy" in report.failed[0][1]
    store = Store.open(places.root, places.run)
    with pytest.raises(PermissionDenied):
        supply.open(store, store.images.list()[0].digests[0])
    assert [image.names for image in store.images.list()] == [(NAME,)]
    store.close()
