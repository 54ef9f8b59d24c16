"""Where a registry may send us, and what it does not get to take along."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import Error, Unavailable
from rundlet.registry.client import Credentials
from rundlet.registry.host import follow_link, host_of, is_listed, is_local, is_loopback, same_origin
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

ACCOUNT = Credentials("ann", "secret")
CONTENT = b"content"
SUM = Digest.of(CONTENT)
BLOB_PATH = f"/v2/a/b/blobs/{SUM}"
BASIC = {"WWW-Authenticate": 'Basic realm="x"'}


@pytest.fixture
def ref(peer):
    return parse_reference(f"{peer.address}/a/b:t")


def read_blob(client, ref, credentials=None):
    with client.open_blob(ref, SUM, len(CONTENT), credentials=credentials) as chunks:
        return b"".join(chunks)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_host_serves_the_blob_and_learns_no_secret(client, peer, make_peer, ref, answer, status):
    other = make_peer()
    other.say("GET /data", answer(200, CONTENT))
    moved = answer(status, headers={"Location": f"http://{other.address}/data?sig=1"})
    peer.say(f"GET {BLOB_PATH}", answer(401, headers=BASIC), moved)
    assert read_blob(client, ref, ACCOUNT) == CONTENT
    assert "Authorization" in peer.asked(BLOB_PATH)[-1].headers
    (seen,) = other.asked("/data")
    assert "Authorization" not in seen.headers
    assert seen.path == "/data?sig=1"


def test_the_same_host_keeps_the_authorization(client, peer, ref, answer):
    peer.say(f"GET {BLOB_PATH}", answer(401, headers=BASIC), answer(307, headers={"Location": "/moved"}))
    peer.say("GET /moved", answer(200, CONTENT))
    assert read_blob(client, ref, ACCOUNT) == CONTENT
    assert "Authorization" in peer.asked("/moved")[0].headers


def test_another_host_s_challenge_is_not_answered(client, peer, make_peer, ref, answer):
    other = make_peer()
    other.say("GET /data", answer(401, headers=BASIC))
    peer.say(f"GET {BLOB_PATH}", answer(302, headers={"Location": f"http://{other.address}/data"}))
    with pytest.raises(Error):
        read_blob(client, ref, ACCOUNT)
    assert all("Authorization" not in seen.headers for seen in other.seen)


def test_a_resumed_download_asks_the_registry_again(client, peer, make_peer, ref, answer):
    other = make_peer()
    other.say("GET /data", answer(200, CONTENT, cut=3), answer(200, CONTENT, ranged=True))
    peer.say(f"GET {BLOB_PATH}", answer(302, headers={"Location": f"http://{other.address}/data"}))
    assert read_blob(client, ref) == CONTENT
    assert len(peer.asked(BLOB_PATH)) == 2
    assert other.asked("/data")[1].headers["Range"] == "bytes=3-6"


def test_redirects_in_a_circle_end(client, peer, ref, answer):
    peer.say(f"GET {BLOB_PATH}", answer(302, headers={"Location": BLOB_PATH}))
    with pytest.raises(Unavailable, match="redirects"):
        read_blob(client, ref)


def test_plain_http_beyond_this_machine_is_refused(client, peer, ref, answer):
    peer.say(f"GET {BLOB_PATH}", answer(302, headers={"Location": "http://registry.test/x"}))
    with pytest.raises(Error, match=r"registry registry\.test: plain HTTP is refused") as caught:
        read_blob(client, ref)
    assert "insecure" in caught.value.hint


@pytest.mark.parametrize(
    "location",
    [
        "http://quay.io/x",
        "https://localhost/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://0.0.0.0/x",
        "https://LOCALHOST:8443/x",
        "file:///etc/passwd",
        "https://user:secret@quay.io/x",
        "https://[",
        "https://quay.io:99999/x",
        "https://quay.io:0/x",
        "https://../x",
    ],
)
def test_a_registry_elsewhere_cannot_send_us_there(location):
    with pytest.raises(Unavailable, match=r"registry quay\.io: sent us to"):
        follow_link("https://quay.io", "https://quay.io/v2/a/blobs/x", location)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/y?z", "https://quay.io/y?z"),
        ("https://cdn.test:8443/y", "https://cdn.test:8443/y"),
        ("//cdn.test/y", "https://cdn.test/y"),
        ("y", "https://quay.io/v2/a/blobs/y"),
        ("https://[2001:db8::1]/y", "https://[2001:db8::1]/y"),
    ],
)
def test_a_fair_link_is_made_absolute(location, url):
    assert follow_link("https://quay.io", "https://quay.io/v2/a/blobs/x", location) == url


@given(location=st.text() | st.text("htps:/[]@.0aA% \n").map("https://".__add__))
def test_any_location_is_followed_or_refused(location):
    try:
        url = follow_link("https://quay.io", "https://quay.io/v2/", location)
    except Unavailable:
        return
    assert url.startswith("https://")


def test_hosts_are_told_apart():
    assert is_loopback("localhost")
    assert is_loopback("127.3.2.1")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert is_local("0.0.0.0")
    assert not is_local("localhost.evil.test")
    assert host_of("[::1]:5000") == "::1"
    assert host_of("Quay.io:443") == "quay.io"
    assert same_origin("https://a/x", "https://A:443/y")
    assert not same_origin("https://a", "http://a")
    assert not same_origin("https://a", "https://a:444")
    assert is_listed("a:5000", ("a:5000",))
    assert is_listed("a:5000", ("a",))
    assert not is_listed("a:5000", ("a:5001", "b"))
