"""policy.json: strict, with the path of what is wrong."""

import base64
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.policy import (
    AcceptAnything,
    ExactRepository,
    KeySource,
    MatchRepoDigestOrExact,
    RemapIdentity,
    SigstoreSigned,
    parse_policy,
)

DATA = base64.b64encode(b"key").decode()
GPG = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
KEY = {"type": "sigstoreSigned", "keyPath": "/k"}
FULCIO = {
    "type": "sigstoreSigned",
    "fulcio": {"caPath": "/ca", "oidcIssuer": "https://issuer", "subjectEmail": "a@b.c"},
    "rekorPublicKeyPath": "/rekor",
}
PKI = {
    "type": "sigstoreSigned",
    "pki": {"caRootsData": DATA, "caIntermediatesPath": "/i", "subjectEmail": "a@b.c"},
}


def parse(*requirements):
    return parse_policy(json.dumps({"default": list(requirements)}).encode(), "p.json")


def test_a_whole_policy():
    document = {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "quay.io/team": [
                    {**GPG, "signedIdentity": {"type": "exactRepository", "dockerRepository": "q.io/x"}}
                ],
                "*.example.com": [{"type": "insecureAcceptAnything"}],
                "": [FULCIO, {**KEY, "keyPath": "/other"}],
            },
            "dir": {"/srv/images": [PKI]},
            "some-future-transport": {"whatever": [{"type": "reject"}]},
        },
    }
    policy = parse_policy(json.dumps(document).encode(), "p.json")
    (signed,) = policy.transports["docker"]["quay.io/team"]
    assert signed.signed_identity == ExactRepository("q.io/x")
    assert policy.transports["docker"]["*.example.com"] == (AcceptAnything(),)
    (own,) = policy.transports["dir"]["/srv/images"]
    assert own.pki.roots == KeySource(data=b"key")
    assert own.pki.intermediates == (KeySource("/i"),)


def test_keys_come_from_any_of_the_fields():
    for name, value in [("keyPath", "/a"), ("keyPaths", ["/a"]), ("keyData", DATA), ("keyDatas", [DATA])]:
        (found,) = parse({"type": "sigstoreSigned", name: value}).default
        assert isinstance(found, SigstoreSigned)
        assert found.keys == (KeySource("/a") if "Path" in name else KeySource(data=b"key"),)
        assert found.signed_identity == MatchRepoDigestOrExact()
    (found,) = parse({**KEY, "rekorPublicKeyDatas": [DATA, DATA]}).default
    assert len(found.rekor_keys) == 2


def without(requirement, *names):
    return {key: value for key, value in requirement.items() if key not in names}


FAULTS = [
    ({"type": "accept"}, "type: invalid value 'accept'"),
    ({}, "missing required field type"),
    ({"type": "reject", "reason": "x"}, "unknown field reason"),
    (without(GPG, "keyType"), "missing required field keyType"),
    ({**GPG, "keyType": "X509"}, "keyType: invalid"),
    (without(GPG, "keyPath"), "exactly one of keyPath, keyPaths, keyData is needed"),
    ({**GPG, "keyData": DATA}, "exactly one of keyPath"),
    ({**GPG, "keyPath": ""}, "keyPath: empty"),
    ({**GPG, "keyData": None}, "keyData: expected str, got null"),
    ({**GPG, "signedIdentity": None}, "signedIdentity: expected"),
    ({**without(GPG, "keyPath"), "keyPaths": []}, "keyPaths: empty"),
    ({**without(GPG, "keyPath"), "keyData": "?"}, "keyData: not base64"),
    ({**GPG, "signedIdentity": {"type": "matchSome"}}, "signedIdentity.type: invalid"),
    (
        {**GPG, "signedIdentity": {"type": "exactReference", "dockerReference": "quay.io/x"}},
        "neither a tag nor",
    ),
    (
        {**GPG, "signedIdentity": {"type": "exactRepository", "dockerRepository": "A/B!"}},
        "dockerRepository: ",
    ),
    (
        {**GPG, "signedIdentity": {"type": "remapIdentity", "prefix": "a.b/c:v1", "signedPrefix": "q"}},
        "prefix: expected",
    ),
    (
        {**GPG, "signedIdentity": {"type": "remapIdentity", "prefix": "q"}},
        "missing required field signedPrefix",
    ),
    ({**KEY, "fulcio": FULCIO["fulcio"], "rekorPublicKeyPath": "/r"}, "exactly one of keyPath"),
    (without(FULCIO, "rekorPublicKeyPath"), "exactly one of rekorPublicKeyPath"),
    ({**FULCIO, "fulcio": without(FULCIO["fulcio"], "caPath")}, "fulcio: exactly one of caPath, caData"),
    ({**FULCIO, "fulcio": {**FULCIO["fulcio"], "oidcIssuer": ""}}, "fulcio.oidcIssuer: empty"),
    ({**FULCIO, "fulcio": without(FULCIO["fulcio"], "subjectEmail")}, "missing required field subjectEmail"),
    ({**PKI, "rekorPublicKeyPath": "/r"}, "pki: Rekor keys cannot"),
    ({**PKI, "pki": without(PKI["pki"], "subjectEmail")}, "pki: no subjectEmail and no subjectHostname"),
    ({**PKI, "pki": {**PKI["pki"], "caRootsPath": "/x"}}, "pki: exactly one of caRootsPath, caRootsData"),
    ({**PKI, "pki": {**PKI["pki"], "caIntermediatesData": DATA}}, "pki: at most one of caIntermediatesPath"),
]


@pytest.mark.parametrize(("requirement", "message"), FAULTS)
def test_faults_name_their_place(requirement, message):
    with pytest.raises(InvalidArgument, match=r"p\.json: default\[0\]") as caught:
        parse(requirement)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "p.json: expected object"),
        ("{}", "p.json: default: missing"),
        ('{"default": []}', "p.json: default: no requirements"),
        ('{"default": {}}', "p.json: default: expected array"),
        ('{"default": [{"type": "reject"}], "defualt": []}', "p.json: defualt: unknown key"),
        ('{"default": [{"type": "reject"}], "default": []}', "stands twice"),
        ('{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}', "stands twice"),
        (
            '{"default": [{"type": "reject"}], "transports": {"dir": {"/a/../b": []}}}',
            "transports.dir./a/../b: expected an abs",
        ),
        ('{"default": [{"type": "reject"}], "transports": {"dir": {"/": []}}}', "expected an absolute path"),
        ('{"default": [{"type": "reject"}], "transports": {"docker-archive": {"x": []}}}', "has the scope"),
        (
            '{"default": [{"type": "reject"}], "transports": {"docker": {"a.io": []}}}',
            "transports.docker.a.io: no req",
        ),
        ('{"default": [{"type": "reject"}]', "p.json: "),
    ],
)
def test_the_frame_is_strict(text, message):
    with pytest.raises(InvalidArgument) as caught:
        parse_policy(text.encode(), "p.json")
    assert message in str(caught.value)


def mutate(value, draw):
    """`value` with one member somewhere dropped, renamed or replaced."""
    value = copy.deepcopy(value)
    place = value
    while isinstance(place, dict) and (inner := [k for k, v in place.items() if isinstance(v, dict)]):
        if not draw(st.booleans()):
            break
        place = place[draw(st.sampled_from(inner))]
    key = draw(st.sampled_from(sorted(place)))
    action = draw(st.sampled_from(["drop", "rename", "replace"]))
    old = place.pop(key)
    if action == "rename":
        place[key + "x"] = old
    elif action == "replace":
        place[key] = draw(
            st.none() | st.integers() | st.just("") | st.just([]) | st.just({}) | st.text(max_size=3)
        )
    return value


@given(st.data())
def test_any_policy_parses_or_says_why(data):
    base = data.draw(
        st.sampled_from(
            [
                GPG,
                KEY,
                FULCIO,
                PKI,
                {**GPG, "signedIdentity": {"type": "remapIdentity", "prefix": "a.b", "signedPrefix": "c.d"}},
            ]
        )
    )
    mutated = mutate(base, data.draw)
    try:
        policy = parse(mutated)
    except InvalidArgument as error:
        assert error.message.startswith("p.json: default[0]")
    else:  # what was replaced fits: then nothing of the requirement was lost
        assert len(policy.default) == 1


def test_a_remap_may_be_of_registries_and_namespaces():
    identity = {
        "type": "remapIdentity",
        "prefix": "mirror.example:5000/vendor",
        "signedPrefix": "vendor.example",
    }
    (found,) = parse({**GPG, "signedIdentity": identity}).default
    assert found.signed_identity == RemapIdentity("mirror.example:5000/vendor", "vendor.example")
