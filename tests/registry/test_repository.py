"""What copying asks of a repository: uploads that break, mounts, referrers, deletion, log-in."""

import contextlib
import json

import pytest

from rundlet.errors import NotFound, Unauthenticated, Unavailable
from rundlet.registry import repository
from rundlet.registry.access import Remote
from rundlet.registry.client import Credentials
from rundlet.registry.message import StreamBody
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

CONTENT = b"0123456789" * 1000
DIGEST = Digest.of(CONTENT)
UPLOADS = "/v2/a/blobs/uploads/"
BEGUN = {"Location": "/upload/1"}


SIZE = len(CONTENT)


def body(data=CONTENT, size=SIZE):
    """Content in pieces, from its start at every attempt."""
    return StreamBody(lambda: contextlib.nullcontext(iter([data[:4096], data[4096:]])), size)


@pytest.fixture
def remote(client, server):
    name = parse_reference(f"{server.address}/a:1")
    return Remote(name, name, client)


@pytest.fixture
def at_peer(client, peer):
    name = parse_reference(f"{peer.address}/a:1")
    return Remote(name, name, client)


def test_a_blob_goes_there_and_is_found(remote):
    assert repository.find_blob(remote, DIGEST) is None
    repository.push_blob(remote, DIGEST, body())
    assert repository.find_blob(remote, DIGEST) == len(CONTENT)


def test_a_blob_whose_digest_comes_last(remote):
    location = repository.push_stream(remote, body(size=-1))
    repository.finish_stream(remote, location, DIGEST)
    assert repository.find_blob(remote, DIGEST) == len(CONTENT)


def test_an_upload_that_breaks_begins_anew(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(500), answer(201))
    repository.push_blob(at_peer, DIGEST, body())
    assert [seen.body for seen in peer.asked("/upload/1")] == [CONTENT, CONTENT]
    assert len(peer.asked(UPLOADS)) == 2


def test_an_upload_that_always_breaks_is_given_up(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(500))
    with pytest.raises(Unavailable, match="500"):
        repository.push_blob(at_peer, DIGEST, body())


@pytest.mark.parametrize("location", ["", "https://elsewhere.example/upload", "file:///etc/passwd"])
def test_an_upload_stays_with_its_registry(at_peer, peer, answer, location):
    peer.say(f"POST {UPLOADS}", answer(202, headers={"Location": location}))
    with pytest.raises(Exception, match="upload|sent us"):
        repository.push_blob(at_peer, DIGEST, body())


def test_a_mount_or_an_upload_that_nobody_needs(at_peer, remote, peer, answer):
    repository.push_blob(remote, DIGEST, body())
    other = remote._replace(reference=parse_reference(f"{remote.reference.domain}/b:1"))
    assert repository.mount_blob(other, DIGEST, "a")
    assert repository.find_blob(other, DIGEST) == len(CONTENT)
    assert not repository.mount_blob(other, Digest.of(b"absent"), "a")
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    assert not repository.mount_blob(at_peer, DIGEST, "b")  # its upload cannot even be cancelled


def test_what_is_not_there_is_not_deleted(remote):
    with pytest.raises(NotFound):
        repository.delete_manifest(remote, "1")


@pytest.fixture
def referrer():
    return Descriptor(mediatype.OCI_MANIFEST, str(Digest.of(b"x")), 1, artifact_type="a/b")


def test_referrers_over_several_pages(at_peer, peer, answer, referrer):
    page = json.dumps(
        {"schemaVersion": 2, "manifests": [{"mediaType": "m", "digest": referrer.digest, "size": 1}]}
    ).encode()
    first = answer(200, page, {"Link": f'</v2/a/referrers/{DIGEST}?page=2>; rel="next"'})
    peer.say(f"GET /v2/a/referrers/{DIGEST}", first, answer(200, page))
    assert len(repository.list_referrers(at_peer, DIGEST)) == 2


def test_pages_without_end_are_given_up(at_peer, peer, answer):
    page = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    endless = answer(200, page, {"Link": f'</v2/a/referrers/{DIGEST}>; rel="next"'})
    peer.say(f"GET /v2/a/referrers/{DIGEST}", endless)
    with pytest.raises(Unavailable, match="pages"):
        repository.list_referrers(at_peer, DIGEST)


def test_the_tag_that_stands_in_for_referrers(client, peer, answer, remote, referrer):
    assert repository.fallback_tag(DIGEST) == f"sha256-{DIGEST.hex}"
    repository.add_fallback_referrer(remote, DIGEST, referrer)
    repository.add_fallback_referrer(remote, DIGEST, referrer)
    fetched = client.resolve(remote.reference.with_tag(repository.fallback_tag(DIGEST)))
    assert [each["artifactType"] for each in json.loads(fetched.raw)["manifests"]] == ["a/b"]


def test_whether_a_log_in_is_taken(client, peer, answer):
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    peer.say("GET /v2/", answer(401, headers=challenge), answer(401, headers=challenge), answer(200))
    client.log_in(peer.address, Credentials("ann", "secret"))
    peer.say("GET /v2/", answer(401, headers=challenge))
    with pytest.raises(Unauthenticated):
        client.log_in(peer.address, Credentials("ann", "wrong"))
