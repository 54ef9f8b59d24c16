"""Verdicts: what each requirement says, what is read for it, and how a refusal explains itself."""

import json

import pytest

from rundlet.errors import Internal, PermissionDenied
from rundlet.spec.claim import SIMPLE_TYPE, Claim, format_claim
from rundlet.spec.digest import Digest
from rundlet.spec.policy import parse_policy
from rundlet.spec.reference import parse_reference
from rundlet.trust.check import PolicyRefusal, SignedManifest, check_image, evaluate
from rundlet.trust.gpg import sign_message
from rundlet.trust.identity import docker_identity, find_requirements, path_identity
from rundlet.trust.signature import encode_signature
from rundlet.trust.signing import sign_simple
from tests.trust.authority import claim, make_key, public_pem, signed_by_key

RAW = b'{"schemaVersion": 2}'
MANIFEST = SignedManifest(RAW, Digest.of(RAW))
NAME = parse_reference("quay.io/team/app:v1")


@pytest.fixture
def keys(tmp_path, gpg, signer):
    """Key files, and requirements for them."""
    (tmp_path / "gpg.pub").write_bytes(gpg.export(signer))
    key = make_key()
    (tmp_path / "cosign.pub").write_bytes(public_pem(key))
    return {
        "gpg": {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(tmp_path / "gpg.pub")},
        "cosign": {"type": "sigstoreSigned", "keyPath": str(tmp_path / "cosign.pub")},
        "key": key,
    }


def judge(requirements, signatures, identity=None, manifest=MANIFEST):
    policy = parse_policy(json.dumps({"default": requirements}).encode(), "policy")
    identity = identity or docker_identity(NAME)
    return evaluate(find_requirements(policy, identity), identity, manifest, signatures)


def unread():
    raise Internal("nobody asked for signatures")


def test_signatures_are_read_only_when_a_requirement_needs_them():
    accept = parse_policy(b'{"default": [{"type": "insecureAcceptAnything"}]}', "policy")
    assert check_image(accept, docker_identity(NAME), MANIFEST, unread).accepted
    reject = parse_policy(b'{"default": [{"type": "reject"}]}', "policy")
    with pytest.raises(
        PolicyRefusal, match="docker:quay.io/team/app:v1: refused by the policy: reject: it rejects"
    ):
        check_image(reject, docker_identity(NAME), MANIFEST, unread)
    assert issubclass(PolicyRefusal, PermissionDenied)


def test_both_kinds_of_signatures_for_both_requirements(gpg, signer, keys):
    simple = sign_simple(MANIFEST.digest, NAME, signer, home=gpg.home)
    sigstore = encode_signature(signed_by_key(claim(RAW, str(NAME)), keys["key"]))
    both = [keys["gpg"], keys["cosign"]]
    assert judge(both, [sigstore, simple]).accepted
    assert [bool(one.reasons) for one in judge(both, [simple]).findings] == [False, True]
    assert [bool(one.reasons) for one in judge(both, [sigstore]).findings] == [True, False]
    assert not judge([*both, {"type": "reject"}], [sigstore, simple]).accepted
    assert judge([{"type": "insecureAcceptAnything"}, keys["gpg"]], [simple]).accepted
    assert not judge([{"type": "insecureAcceptAnything"}, keys["gpg"]], []).accepted


def test_one_good_signature_among_bad_ones_is_enough(gpg, signer, keys):
    other = sign_simple(Digest.of(b"other"), NAME, signer, home=gpg.home)
    good = sign_simple(MANIFEST.digest, NAME, signer, home=gpg.home)
    assert judge([keys["gpg"]], [b"garbage", other, good]).accepted


def test_every_reason_is_told(gpg, signer, keys):
    wrong_manifest = sign_simple(Digest.of(b"other"), NAME, signer, home=gpg.home)
    wrong_name = sign_simple(MANIFEST.digest, NAME.with_tag("v2"), signer, home=gpg.home)
    no_claim = sign_message(b"{}", signer, home=gpg.home)
    stranger = sign_simple(MANIFEST.digest, NAME, gpg.make_key("stranger@example.com"), home=gpg.home)
    verdict = judge([keys["gpg"]], [b"?", b"", wrong_manifest, wrong_name, no_claim, stranger])
    (finding,) = verdict.findings
    for said in [
        "signature 1: neither an OpenPGP message",
        "signature 2: empty",
        "it signs another manifest",
        "it signs the name quay.io/team/app:v2, which is not accepted here",
        "signed payload: object missing required field critical",
        "it is signed by a key that is not trusted here",
    ]:
        assert any(reason.startswith(said) for reason in finding.reasons), finding.reasons
    lines = verdict.describe()
    assert lines[0] == "docker:quay.io/team/app:v1: refused by default"
    assert lines[1].startswith(f"  [0] signedBy ({keys['gpg']['keyPath']}): signature 1")


def test_no_signature_and_none_of_the_kind(gpg, signer, keys):
    simple = sign_simple(MANIFEST.digest, NAME, signer, home=gpg.home)
    for signatures in ([], [simple]):
        (finding,) = judge([keys["cosign"]], signatures).findings
        assert finding.reasons == ("the image has no such signature",)
    attestation = signed_by_key(claim(RAW, str(NAME)), keys["key"])._replace(
        media_type="application/vnd.dsse+json"
    )
    assert not judge([keys["cosign"]], [encode_signature(attestation)]).accepted


def test_a_key_that_cannot_be_read_refuses_and_says_so(gpg, signer, keys):
    simple = sign_simple(MANIFEST.digest, NAME, signer, home=gpg.home)
    missing = {**keys["gpg"], "keyPath": "/nowhere/key.gpg"}
    (finding,) = judge([missing], [simple]).findings
    assert finding.reasons == ("cannot read the key /nowhere/key.gpg: no such file or directory",)


def test_an_image_without_a_name_needs_a_name_from_the_policy(gpg, signer, keys, tmp_path):
    simple = sign_simple(MANIFEST.digest, NAME, signer, home=gpg.home)
    identity = path_identity("dir", str(tmp_path))
    assert not judge([keys["gpg"]], [simple], identity).accepted
    exact = {**keys["gpg"], "signedIdentity": {"type": "exactReference", "dockerReference": str(NAME)}}
    assert judge([exact], [simple], identity).accepted


def test_a_claim_may_be_by_another_digest_algorithm(gpg, signer, keys):
    payload = format_claim(Claim(Digest.of(RAW, "sha512"), NAME), SIMPLE_TYPE)
    assert judge([keys["gpg"]], [sign_message(payload, signer, home=gpg.home)]).accepted
    other = format_claim(Claim(Digest.of(b"other", "sha512"), NAME), SIMPLE_TYPE)
    assert not judge([keys["gpg"]], [sign_message(other, signer, home=gpg.home)]).accepted


def test_a_digest_that_differs_from_the_bytes_is_what_signatures_are_about(gpg, signer, keys):
    """Schema 1: the manifest's digest is that of a part of the document."""
    manifest = SignedManifest(RAW, Digest.of(b"the signed part"))
    signed = sign_simple(manifest.digest, NAME, signer, home=gpg.home)
    assert judge([keys["gpg"]], [signed], manifest=manifest).accepted
    whole = sign_simple(Digest.of(RAW), NAME, signer, home=gpg.home)
    assert not judge([keys["gpg"]], [whole], manifest=manifest).accepted
