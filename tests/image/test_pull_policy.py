"""A pull from where registries.conf says, and only when the gate lets it in."""

import os

import pytest

from rundlet.image.pull import pull_remote
from rundlet.registry.access import Remote
from rundlet.spec.policy import parse_policy
from rundlet.spec.reference import parse_reference
from rundlet.trust.check import PolicyRefusal, SignedManifest, check_image
from rundlet.trust.identity import docker_identity
from tests.image.conftest import push
from tests.image.images import tar

REJECT = parse_policy(b'{"default": [{"type": "reject"}]}', "policy")


@pytest.fixture
def remote(client, registry):
    reference = f"{registry.address}/mirror/redis:1"
    push(client, reference, [tar({"redis": b"redis"})])
    return Remote(parse_reference("quay.io/team/redis:1"), parse_reference(reference), client)


def test_the_image_has_its_own_name_wherever_it_comes_from(store, remote):
    image = pull_remote(store, remote)
    assert image.names == ("quay.io/team/redis:1",)
    assert [digest.partition("@")[0] for digest in image.digests] == ["quay.io/team/redis"]


def test_what_was_fetched_before_is_not_fetched_again(store, remote, registry):
    fetched = remote.client.resolve(remote.reference)
    gone = remote._replace(reference=remote.reference.with_tag("gone"))
    assert pull_remote(store, gone, fetched=fetched).manifest_digest == str(fetched.digest)


def test_a_refused_image_leaves_nothing(store, remote, tmp_path):
    asked = []

    def admit(manifest):
        asked.append(manifest.digest)
        check_image(
            REJECT, docker_identity(remote.name), SignedManifest(manifest.raw, manifest.digest), lambda: ()
        )

    with pytest.raises(PolicyRefusal, match="quay.io/team/redis:1: refused by the policy: reject"):
        pull_remote(store, remote, admit=admit)
    assert asked == [remote.client.resolve(remote.reference).digest]
    assert not store.images.list()
    kept = [name for _, _, files in os.walk(tmp_path / "root" / "blobs") for name in files]
    assert kept == []
