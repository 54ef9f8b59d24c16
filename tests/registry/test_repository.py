"""What copying asks of a repository: uploads that break, mounts, referrers, deletion, log-in."""

import contextlib
import json
import random
import socket
import threading

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


def test_an_upload_that_breaks_goes_on_where_it_broke(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(cut=0), answer(201))
    peer.say("GET /upload/1", answer(204, headers={"Range": "0-5999", "Location": "/upload/1?state=x"}))
    peer.say("PATCH /upload/1", answer(202, headers={"Location": "/upload/1?state=y"}))
    repository.push_blob(at_peer, DIGEST, body())
    _, _, patch, put = peer.asked("/upload/1")
    assert (patch.path, patch.body) == ("/upload/1?state=x", CONTENT[6000:])
    assert patch.headers["Content-Range"] == "6000-9999"
    assert (put.path.partition("&")[0], put.body) == ("/upload/1?state=y", b"")


@pytest.mark.parametrize("told", ["0-0", "", "5-7", "0-x"])
def test_an_upload_of_which_nothing_arrived_begins_anew(at_peer, peer, answer, told):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(cut=0), answer(201))
    peer.say("GET /upload/1", answer(204, headers={"Range": told}))
    repository.push_blob(at_peer, DIGEST, body())
    assert [seen.body for seen in peer.asked("/upload/1")] == [CONTENT, b"", CONTENT]


def test_a_registry_that_will_not_go_on_gets_all_of_it_again(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(cut=0), answer(201))
    peer.say("GET /upload/1", answer(204, headers={"Range": "0-5999"}))
    peer.say("PATCH /upload/1", answer(416))
    repository.push_blob(at_peer, DIGEST, body())
    bodies = [seen.body for seen in peer.asked("/upload/1") if seen.method != "GET"]
    assert bodies == [CONTENT, CONTENT[6000:], CONTENT]


def test_an_upload_of_which_only_the_answer_was_lost_is_done(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(cut=0))
    peer.say(f"HEAD /v2/a/blobs/{DIGEST}", answer(200))
    repository.push_blob(at_peer, DIGEST, body())
    assert len(peer.asked("/upload/1")) == 1


def test_a_stream_that_breaks_begins_anew(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PATCH /upload/1", answer(500), answer(202, headers={"Location": "/upload/2"}))
    assert repository.push_stream(at_peer, body()) == "/upload/2"
    assert [seen.body for seen in peer.asked("/upload/1")] == [CONTENT, CONTENT]


class _CuttingProxy:
    """Passes one connection after the other on to `target`; the first upload is cut after `limit` bytes."""

    def __init__(self, target, limit):
        self._target, self._left = target, limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._target)
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()

    def _carry(self, source, target, counted):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                if counted and self._left > 0 and len(data) > 4096:
                    self._left -= len(data)
                    if self._left <= 0:
                        break
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()


@pytest.fixture
def cut_upload(client):
    """A remote at a registry whose first upload breaks after half of `BIG`."""
    with contextlib.ExitStack() as stack:

        def make(address):
            host, _, port = address.partition(":")
            proxy = _CuttingProxy((host, int(port)), len(BIG) // 2)
            stack.callback(proxy.close)
            name = parse_reference(f"{proxy.address}/a:1")
            return Remote(name, name, client)

        yield make


BIG = random.Random(1).randbytes(8 << 20)


@pytest.mark.parametrize("kind", ["ours", "debian"])
def test_a_cut_upload_arrives_whole(cut_upload, server, kind, request):
    """Ours goes on; docker-registry 2 may not, and gets it again."""
    address = server.address if kind == "ours" else request.getfixturevalue("make_debian_registry")()
    remote = cut_upload(address)
    sent = []

    @contextlib.contextmanager
    def pieces():
        sent.append(0)
        yield (BIG[at : at + (1 << 16)] for at in range(0, len(BIG), 1 << 16))

    repository.push_blob(remote, Digest.of(BIG), StreamBody(pieces, len(BIG)))
    assert repository.find_blob(remote, Digest.of(BIG)) == len(BIG)
    assert len(sent) == 2


def test_an_upload_that_breaks_begins_anew(at_peer, peer, answer):
    peer.say(f"POST {UPLOADS}", answer(202, headers=BEGUN))
    peer.say("PUT /upload/1", answer(500), answer(201))
    repository.push_blob(at_peer, DIGEST, body())
    puts = [seen.body for seen in peer.asked("/upload/1") if seen.method == "PUT"]
    assert puts == [CONTENT, CONTENT]
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
