"""Sigstore bundles by keys, by Fulcio and Rekor, by one's own authority; promises and proofs; every way to fail."""

import datetime as dt
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rundlet.errors import Error, InvalidArgument, PermissionDenied
from rundlet.spec.digest import Digest
from rundlet.spec.policy import parse_policy
from rundlet.spec.reference import parse_reference
from rundlet.trust.check import PolicyRefusal, SignedManifest, check_image
from rundlet.trust.identity import docker_identity
from rundlet.trust.signature import encode_signature
from rundlet.trust.sigstore import open_sigstore
from tests.trust.authority import EMAIL, ISSUER, Sigstore, make_key, public_pem
from tests.trust.bundles import Log, b64, certified_bundle, logged_bundle, make_bundle, statement

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = Digest.of(MANIFEST)
NAMED = statement(MANIFEST, "quay.io/team/app")
NAMELESS = statement(MANIFEST)


def require(**members):
    document = {"default": [{"type": "sigstoreSigned", **members}]}
    return parse_policy(json.dumps(document).encode(), "policy").default[0]


def by_key(key, *rekor):
    logs = {"rekorPublicKeyDatas": [b64(one) for one in rekor]} if rekor else {}
    return require(keyData=b64(public_pem(key)), **logs)


def change(signature, path, value):
    """The bundle with one member replaced."""
    document = json.loads(signature.payload)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return signature._replace(payload=json.dumps(document).encode())


@pytest.fixture(scope="module")
def sigstore():
    return Sigstore()


@pytest.fixture(scope="module")
def log():
    return Log()


@pytest.fixture(scope="module")
def fulcio(sigstore, log):
    authorities = sigstore.root.pem + sigstore.intermediate.pem
    wanted = {"caData": b64(authorities), "oidcIssuer": ISSUER, "subjectEmail": EMAIL}
    return require(fulcio=wanted, rekorPublicKeyData=b64(public_pem(log.key)))


def test_by_a_key():
    key = make_key()
    claim = open_sigstore(by_key(key), make_bundle(NAMED, key))
    assert (claim.digest, str(claim.reference)) == (DIGEST, "quay.io/team/app")
    assert open_sigstore(by_key(key), make_bundle(NAMELESS, key)).reference is None
    with pytest.raises(PermissionDenied, match="not by a trusted key"):
        open_sigstore(by_key(make_key()), make_bundle(NAMED, key))
    with pytest.raises(PermissionDenied, match="not by a trusted key"):
        open_sigstore(
            by_key(key), change(make_bundle(NAMED, key), ["dsseEnvelope", "payload"], b64(NAMELESS))
        )


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize(("promise", "proof"), [(True, True), (True, False), (False, True)])
def test_by_a_key_and_in_rekor(log, new, promise, proof):
    key = make_key()
    bundle = logged_bundle(NAMED, key, log, new=new, promise=promise, proof=proof)
    assert open_sigstore(by_key(key, public_pem(log.key)), bundle).digest == DIGEST
    with pytest.raises(PermissionDenied, match="trusted Rekor key"):
        open_sigstore(by_key(key, public_pem(make_key())), bundle)


def test_a_log_that_signs_its_trees_by_ed25519():
    log, key = Log(ed25519.Ed25519PrivateKey.generate()), make_key()
    log.sign = log.key.sign
    pem = log.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    bundle = logged_bundle(NAMED, key, log, new=True, promise=False)
    assert open_sigstore(by_key(key, pem), bundle).digest == DIGEST
    promised = logged_bundle(NAMED, key, log)
    with pytest.raises(PermissionDenied, match="trusted Rekor key"):  # those are ECDSA's alone
        open_sigstore(by_key(key, pem), promised)


def test_a_bundle_in_no_log_is_refused_where_one_is_asked_for(log):
    key = make_key()
    wanted = by_key(key, public_pem(log.key))
    with pytest.raises(PermissionDenied, match="in no transparency log"):
        open_sigstore(wanted, make_bundle(NAMED, key))
    bare = logged_bundle(NAMED, key, log, promise=False, proof=False)
    with pytest.raises(PermissionDenied, match="neither promised nor proved"):
        open_sigstore(wanted, bare)


ENTRY = ["verificationMaterial", "tlogEntries", 0]
PROOF = [*ENTRY, "inclusionProof"]
NOTE = "rekor.example - 5\n6\n" + b64(b"x" * 32) + "\n"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ([*ENTRY, "integratedTime"], "1"),
        ([*ENTRY, "logIndex"], "1208"),
        ([*ENTRY, "logIndex"], "-1"),
        ([*ENTRY, "logId", "keyId"], b64(b"\xcd" * 32)),
        ([*ENTRY, "canonicalizedBody"], b64(b"{}")),
        ([*ENTRY, "inclusionPromise", "signedEntryTimestamp"], b64(b"x")),
        ([*PROOF, "logIndex"], "2"),
        ([*PROOF, "logIndex"], "6"),
        ([*PROOF, "treeSize"], "7"),
        ([*PROOF, "treeSize"], "0"),
        ([*PROOF, "rootHash"], b64(b"x" * 32)),
        ([*PROOF, "hashes"], []),
        ([*PROOF, "hashes"], [b64(b"x" * 32)] * 9),
        ([*PROOF, "checkpoint", "envelope"], "x"),
        ([*PROOF, "checkpoint", "envelope"], f"{NOTE}\n"),
        ([*PROOF, "checkpoint", "envelope"], f"{NOTE}\n— rekor.example {b64(b'hintsignature')}\n"),
    ],
)
def test_whatever_is_changed_in_a_log_s_word_is_noticed(log, path, value):
    key = make_key()
    wanted, good = by_key(key, public_pem(log.key)), logged_bundle(NAMED, key, log)
    assert open_sigstore(wanted, good)
    with pytest.raises((PermissionDenied, InvalidArgument)):
        open_sigstore(wanted, change(good, path, value))


def test_an_entry_must_be_about_this_very_signature(log):
    key, other = make_key(), make_key()
    mine, theirs = logged_bundle(NAMED, key, log), logged_bundle(NAMELESS, key, log)
    for donor, reason in [(theirs, "another payload"), (logged_bundle(NAMED, other, log), "another signer")]:
        entry = json.loads(donor.payload)["verificationMaterial"]["tlogEntries"][0]
        with pytest.raises(PermissionDenied, match=reason):
            open_sigstore(by_key(key, public_pem(log.key)), change(mine, ENTRY, entry))


def test_a_checkpoint_of_another_tree_is_no_proof(log):
    key = make_key()
    good = logged_bundle(NAMED, key, log, promise=False)
    larger = log.proof([b"1", b"2", b"3", b"4", b"5", b"6", b"7"], 3)["checkpoint"]
    with pytest.raises(PermissionDenied, match="another tree"):
        open_sigstore(by_key(key, public_pem(log.key)), change(good, [*PROOF, "checkpoint"], larger))


def test_by_a_certificate_of_fulcio(sigstore, log, fulcio):
    assert open_sigstore(fulcio, certified_bundle(NAMED, sigstore.leaf(), log)).digest == DIGEST
    brief = sigstore.leaf(start=-dt.timedelta(hours=5), end=-dt.timedelta(hours=4))
    then = time.time() - 4.5 * 3600
    assert open_sigstore(fulcio, certified_bundle(NAMED, brief, log, at_s=then))
    with pytest.raises(PermissionDenied, match="not valid at validation time"):
        open_sigstore(fulcio, certified_bundle(NAMED, brief, log))
    with pytest.raises(PermissionDenied, match="gives no time"):
        open_sigstore(fulcio, certified_bundle(NAMED, sigstore.leaf(), log, promise=False))
    with pytest.raises(PermissionDenied, match="no certificate"):
        open_sigstore(fulcio, logged_bundle(NAMED, make_key(), log))
    stranger = Sigstore()
    with pytest.raises(PermissionDenied, match="no trusted root"):
        open_sigstore(fulcio, certified_bundle(NAMED, stranger.leaf(), log))


def test_by_a_certificate_of_one_s_own_authority(sigstore):
    pki = require(pki={"caRootsData": b64(sigstore.root.pem), "subjectEmail": EMAIL})
    leaf = sigstore.leaf()
    chained = make_bundle(
        NAMED, leaf.key, certificate=leaf.certificate, chain=[sigstore.intermediate.certificate]
    )
    assert open_sigstore(pki, chained).digest == DIGEST
    with pytest.raises(PermissionDenied, match="no trusted root"):
        open_sigstore(pki, make_bundle(NAMED, leaf.key, certificate=leaf.certificate))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (statement(MANIFEST, predicate_type="https://slsa.dev/provenance/v1"), "statement of another kind"),
        (statement(MANIFEST, subject=[]), "expected one subject"),
        (statement(MANIFEST, subject=[{"digest": {"md5": "00"}}]), "neither sha256 nor sha512"),
        (statement(MANIFEST, _type="other"), "_type"),
        (b"no json", "signed payload"),
    ],
)
def test_what_was_signed_must_be_a_statement_about_one_image(payload, reason):
    key = make_key()
    with pytest.raises(InvalidArgument, match=reason):
        open_sigstore(by_key(key), make_bundle(payload, key))


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["dsseEnvelope"], None, "signs bytes"),
        (["dsseEnvelope", "payloadType"], "text/plain", "payloadType"),
        (["dsseEnvelope", "signatures"], [], "expected one signature"),
        (["dsseEnvelope", "signatures", 0, "sig"], "?", "not base64"),
        (["mediaType"], "text/plain", "mediaType"),
        (["verificationMaterial"], 5, "verificationMaterial"),
    ],
)
def test_a_malformed_bundle_is_one_clear_error(path, value, reason):
    key = make_key()
    with pytest.raises(InvalidArgument, match=reason):
        open_sigstore(by_key(key), change(make_bundle(NAMED, key), path, value))


# --- which images it lets in ----------------------------------------------------------


def judge(bundle, key, name, identity=None):
    """The refusal's reason, "" when the image may come in."""
    members = {"keyData": b64(public_pem(key)), **({"signedIdentity": identity} if identity else {})}
    policy = parse_policy(json.dumps({"default": [{"type": "sigstoreSigned", **members}]}).encode(), "policy")
    try:
        check_image(
            policy,
            docker_identity(parse_reference(name)),
            SignedManifest(MANIFEST, DIGEST),
            lambda: [encode_signature(bundle)],
        )
    except PolicyRefusal as error:
        return error.message
    return ""


def test_a_bundle_with_a_name_counts_as_any_signature():
    key = make_key()
    bundle = make_bundle(NAMED, key)
    assert not judge(bundle, key, "quay.io/team/app:v1", {"type": "matchRepository"})
    assert "quay.io/team/app, which is not accepted" in judge(bundle, key, "quay.io/team/app:v1")
    assert "not accepted" in judge(bundle, key, "quay.io/other/app:v1", {"type": "matchRepository"})
    other = make_bundle(statement(b"other", "quay.io/team/app"), key)
    assert "another manifest" in judge(other, key, "quay.io/team/app:v1", {"type": "matchRepository"})


def test_a_bundle_without_a_name_does_for_an_image_by_digest_only():
    key = make_key()
    bundle = make_bundle(NAMELESS, key)
    for kind in ("matchRepository", "matchExact", "matchRepoDigestOrExact"):
        assert not judge(bundle, key, f"quay.io/team/app@{DIGEST}", {"type": kind})
        assert "it signs no name" in judge(bundle, key, "quay.io/team/app:v1", {"type": kind})
    for identity in (
        {"type": "exactRepository", "dockerRepository": "quay.io/team/app"},
        {"type": "remapIdentity", "prefix": "quay.io/team", "signedPrefix": "vendor.example"},
    ):
        assert "it signs no name" in judge(bundle, key, f"quay.io/team/app@{DIGEST}", identity)


def test_an_attestation_alone_lets_nothing_in():
    key = make_key()
    provenance = make_bundle(statement(MANIFEST, predicate_type="https://slsa.dev/provenance/v1"), key)
    assert "statement of another kind" in judge(provenance, key, f"quay.io/team/app@{DIGEST}")


def test_mutated_bundles_never_let_anything_in(log):
    """Any byte changed: one of our errors, or the same claim (white space, what nothing depends on)."""
    key = make_key()
    wanted, good = by_key(key, public_pem(log.key)), logged_bundle(NAMED, key, log)
    for at in range(0, len(good.payload), 7):
        raw = bytearray(good.payload)
        raw[at] ^= 1 << (at % 7)
        try:
            claim = open_sigstore(wanted, good._replace(payload=bytes(raw)))
        except Error:
            continue
        assert claim.digest == DIGEST
