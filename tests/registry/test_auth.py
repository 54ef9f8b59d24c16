"""Log-in: challenges, the token flow without sockets, and against peers that check."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import PermissionDenied, Unauthenticated, Unavailable
from rundlet.registry.auth import Challenge, Grant, authorize, parse_challenges
from rundlet.registry.client import Credentials
from rundlet.registry.message import Response
from rundlet.spec.reference import parse_reference

ACCOUNT = Credentials("ann", "pässword")
BASIC = "Basic " + base64.b64encode("ann:pässword".encode()).decode()
REGISTRY = "https://quay.io"
REALM = "https://auth.test/token"
BEARER = Challenge("bearer", {"realm": REALM, "service": "s", "scope": "repository:a/b:pull"})
MANIFEST = b'{"schemaVersion": 2}'
MANIFEST_PATH = "/v2/a/b/manifests/t"


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", ()),
        ("Basic", (Challenge("basic", {}),)),
        ('Basic realm="a, b"', (Challenge("basic", {"realm": "a, b"}),)),
        (
            'Bearer realm="https://a/b",service=c , scope="x y"',
            (Challenge("bearer", {"realm": "https://a/b", "service": "c", "scope": "x y"}),),
        ),
        (
            'Basic realm="a", Bearer realm=b',
            (Challenge("basic", {"realm": "a"}), Challenge("bearer", {"realm": "b"})),
        ),
        ('Bearer REALM="a\\"b\\\\"', (Challenge("bearer", {"realm": 'a"b\\'}),)),
        ('Bearer realm="a",realm="b"', (Challenge("bearer", {"realm": "a"}),)),
        ('realm="nobody\'s"', ()),
    ],
)
def test_challenges(header, challenges):
    assert parse_challenges(header) == challenges


@given(header=st.text() | st.text('Bearer=", \\\n'))
def test_any_header_is_read(header):
    parse_challenges(header)


def run(challenges, credentials, *responses):
    """Drive `authorize`; returns the grant and what was asked."""
    flow = authorize(challenges, REGISTRY, "repository:x:pull", credentials, 0.0)
    asked = []
    try:
        request = next(flow)
        for response in responses:
            asked.append(request)
            request = flow.send(response)
    except StopIteration as stop:
        return stop.value, asked
    raise AssertionError(f"unexpected request {request}")


def token_answer(**members):
    return Response(200, {}, json.dumps(members).encode())


def test_an_anonymous_token():
    grant, (request,) = run([BEARER], Credentials(), token_answer(token="abc"))
    assert grant == Grant("Bearer abc", 50.0)
    assert request.url == f"{REALM}?service=s&scope=repository%3Aa%2Fb%3Apull"
    assert "Authorization" not in request.headers


def test_a_token_for_an_account():
    grant, (request,) = run([BEARER], ACCOUNT, token_answer(access_token="abc", expires_in=300))
    assert grant == Grant("Bearer abc", 290.0)
    assert request.headers["Authorization"] == BASIC


def test_a_token_by_identity_token():
    _, (request,) = run([BEARER], Credentials(identity_token="id"), token_answer(access_token="abc"))
    assert (request.method, request.url) == ("POST", REALM)
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["id"]
    assert form["scope"] == ["repository:a/b:pull"]


def test_a_registry_token_is_sent_as_it_is():
    grant, asked = run([BEARER], Credentials(registry_token="given"))
    assert (grant.header, asked) == ("Bearer given", [])


def test_our_own_scope_when_the_challenge_has_none():
    _, (request,) = run(
        [Challenge("bearer", {"realm": f"{REALM}?a=b"})], Credentials(), token_answer(token="x")
    )
    assert request.url == f"{REALM}?a=b&scope=repository%3Ax%3Apull"


def test_basic_only_with_a_user_name():
    grant, _ = run([Challenge("basic", {})], ACCOUNT)
    assert grant.header == BASIC
    with pytest.raises(Unauthenticated, match="user name"):
        run([Challenge("basic", {})], Credentials())


def test_bearer_is_preferred_to_basic():
    grant, _ = run([Challenge("basic", {}), BEARER], ACCOUNT, token_answer(token="abc"))
    assert grant.header == "Bearer abc"


@pytest.mark.parametrize("challenges", [[], [Challenge("negotiate", {})]])
def test_no_way_in_that_we_know(challenges):
    with pytest.raises(Unauthenticated):
        run(challenges, ACCOUNT)


@pytest.mark.parametrize(
    "response",
    [
        Response(401, {}),
        Response(404, {}),
        Response(200, {}, b"{}"),
        Response(200, {}, b"not json"),
        Response(200, {}, b'{"token": 7}'),
        token_answer(token="a\r\nX-Evil: 1"),
        token_answer(token="a b"),
    ],
)
def test_a_token_server_that_gives_none(response):
    with pytest.raises(Unauthenticated):
        run([BEARER], ACCOUNT, response)


def test_a_token_server_that_forbids():
    with pytest.raises(PermissionDenied):
        run([BEARER], ACCOUNT, Response(403, {}))


@pytest.mark.parametrize(
    "realm", ["", "http://auth.test/", "https://localhost/", "file:///x", "https://u:p@x/"]
)
def test_a_realm_that_we_do_not_trust_gets_no_password(realm):
    with pytest.raises(Unavailable, match="sent us to"):
        run([Challenge("bearer", {"realm": realm})], ACCOUNT, token_answer(token="x"))


@pytest.fixture
def ref(peer):
    return parse_reference(f"{peer.address}/a/b:t")


@pytest.fixture
def token_server(make_peer, peer, answer):
    """A second peer that hands out tokens to `peer`, which asks for one first."""
    other = make_peer()
    other.say("GET /token", answer(200, b'{"token": "abc", "expires_in": 300}'))
    challenge = f'Bearer realm="http://{other.address}/token",service="x"'
    peer.say(
        f"GET {MANIFEST_PATH}",
        answer(401, headers={"WWW-Authenticate": challenge}),
        answer(200, MANIFEST),
    )
    return other


def test_the_bearer_flow(client, peer, token_server, ref):
    assert client.resolve(ref, ACCOUNT).raw == MANIFEST
    (asked,) = token_server.asked("/token")
    assert asked.headers["Authorization"] == BASIC
    assert parse_qs(urlsplit(asked.path).query) == {"service": ["x"], "scope": ["repository:a/b:pull"]}
    first, second = peer.asked(MANIFEST_PATH)
    assert "Authorization" not in first.headers
    assert second.headers["Authorization"] == "Bearer abc"


def test_a_token_is_used_until_it_expires(client, peer, token_server, ref, virtual_time):
    for _ in range(3):
        client.resolve(ref)
    assert len(token_server.asked("/token")) == 1
    virtual_time.now_s += 291
    client.resolve(ref)
    assert "Authorization" not in peer.asked(MANIFEST_PATH)[-1].headers


def test_secrets_stay_out_of_logs():
    assert "pässword" not in f"{ACCOUNT} {ACCOUNT!r}"


def test_a_token_is_nobody_else_s(client, peer, token_server, ref):
    client.resolve(ref, ACCOUNT)
    client.resolve(ref)
    assert "Authorization" not in peer.asked(MANIFEST_PATH)[-1].headers


def test_a_token_server_s_bad_moment_passes(client, token_server, ref, answer, virtual_time, peer):
    challenge = peer.next_answer("GET", MANIFEST_PATH)
    peer.say(f"GET {MANIFEST_PATH}", challenge, challenge, answer(200, MANIFEST))
    token_server.say("GET /token", answer(503), answer(200, b'{"token": "abc"}'))
    assert client.resolve(ref).raw == MANIFEST
    assert virtual_time.slept == [0.25]


def test_an_endless_token_is_cut_off(client, token_server, ref, answer):
    token_server.say("GET /token", answer(200, b" " * (2 << 20)))
    with pytest.raises(Exception, match="longer than 1048576 bytes"):
        client.resolve(ref)


def test_refused_after_logging_in(client, peer, ref, answer):
    peer.say(f"GET {MANIFEST_PATH}", answer(401, headers={"WWW-Authenticate": "Basic realm=x"}))
    with pytest.raises(Unauthenticated, match="manifest a/b:t: HTTP status 401") as caught:
        client.resolve(ref, ACCOUNT)
    assert "credentials" in caught.value.hint
    assert "pässword" not in str(caught.value)
    assert len(peer.asked(MANIFEST_PATH)) == 2
