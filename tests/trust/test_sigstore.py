"""Sigstore signatures by keys, by Fulcio and Rekor, by one's own authority: made here, and every way to fail."""

import base64
import datetime as dt
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.spec.policy import parse_policy
from rundlet.trust.sigstore import open_sigstore
from tests.trust.authority import (
    CODE_SIGNING,
    DAY,
    EMAIL,
    HOST,
    ISSUER,
    ISSUER_EXTENSION,
    NAMES,
    Sigstore,
    authority,
    claim,
    issue,
    issuer_extension_v2,
    make_key,
    public_pem,
    sign,
    signed_by_key,
)

MANIFEST = b'{"schemaVersion": 2}'
PAYLOAD = claim(MANIFEST, "quay.io/team/app:v1")


def data(raw):
    return base64.b64encode(raw).decode()


def require(**members):
    """A requirement as a policy has it."""
    document = {"default": [{"type": "sigstoreSigned", **members}]}
    return parse_policy(json.dumps(document).encode(), "policy").default[0]


@pytest.fixture(scope="module")
def sigstore():
    return Sigstore()


@pytest.fixture(scope="module")
def fulcio(sigstore):
    def make(**changes):
        wanted = {"caData": data(sigstore.root.pem), "oidcIssuer": ISSUER, "subjectEmail": EMAIL, **changes}
        return require(fulcio=wanted, rekorPublicKeyData=data(public_pem(sigstore.rekor)))

    return make


@pytest.fixture(scope="module")
def pki(sigstore):
    def make(**changes):
        return require(pki={"caRootsData": data(sigstore.root.pem), "subjectEmail": EMAIL, **changes})

    return make


def refuses(requirement, signature, reason):
    with pytest.raises(PermissionDenied, match=reason):
        open_sigstore(requirement, signature)


# --- keys ------------------------------------------------------------------------------


def test_by_a_key_or_one_of_several(tmp_path):
    key, other = make_key(), make_key()
    (tmp_path / "key.pub").write_bytes(public_pem(key))
    signature = signed_by_key(PAYLOAD, key)
    for requirement in (
        require(keyData=data(public_pem(key))),
        require(keyPath=str(tmp_path / "key.pub")),
        require(keyDatas=[data(public_pem(other)), data(public_pem(key))]),
    ):
        assert str(open_sigstore(requirement, signature).reference) == "quay.io/team/app:v1"
    refuses(require(keyData=data(public_pem(other))), signature, "not by a trusted key")
    changed = signature._replace(payload=PAYLOAD.replace(b"v1", b"v2"))
    refuses(require(keyData=data(public_pem(key))), changed, "not by a trusted key")
    bare = signature._replace(annotations={})
    refuses(require(keyData=data(public_pem(key))), bare, "annotation .* is missing")


def test_by_keys_of_other_kinds():
    rsa_key = rsa.generate_private_key(65537, 2048)
    edwards = ed25519.Ed25519PrivateKey.generate()
    for key, raw in [
        (rsa_key, rsa_key.sign(PAYLOAD, PKCS1v15(), SHA256())),
        (edwards, edwards.sign(PAYLOAD)),
    ]:
        signature = signed_by_key(PAYLOAD, make_key())
        signature = signature._replace(annotations={"dev.cosignproject.cosign/signature": data(raw)})
        assert open_sigstore(require(keyData=data(public_pem(key))), signature)


def test_what_was_signed_must_be_a_claim():
    key = make_key()
    for payload in (b"no json", b"{}", PAYLOAD.replace(b"cosign container", b"atomic container")):
        with pytest.raises(InvalidArgument, match="signed payload"):
            open_sigstore(require(keyData=data(public_pem(key))), signed_by_key(payload, key))


def test_a_malformed_key_or_signature_is_one_clear_error():
    key = make_key()
    with pytest.raises(InvalidArgument, match="policy's own data: not a PEM public key"):
        open_sigstore(require(keyData=data(b"x")), signed_by_key(PAYLOAD, key))
    broken = signed_by_key(PAYLOAD, key)._replace(annotations={"dev.cosignproject.cosign/signature": "?"})
    with pytest.raises(InvalidArgument, match="not base64"):
        open_sigstore(require(keyData=data(public_pem(key))), broken)


def test_by_a_key_and_in_rekor(sigstore):
    key, other = make_key(), make_key()
    raw = sign(key, PAYLOAD)
    bundle = sigstore.promise(PAYLOAD, raw, public_pem(key))
    signature = signed_by_key(PAYLOAD, key)
    logged = signature._replace(
        annotations={"dev.cosignproject.cosign/signature": data(raw), "dev.sigstore.cosign/bundle": bundle}
    )
    wanted = require(
        keyDatas=[data(public_pem(other)), data(public_pem(key))],
        rekorPublicKeyDatas=[data(public_pem(other)), data(public_pem(sigstore.rekor))],
    )
    assert open_sigstore(wanted, logged)
    refuses(wanted, signature, "annotation dev.sigstore.cosign/bundle is missing")
    alone = require(keyData=data(public_pem(other)), rekorPublicKeyData=data(public_pem(sigstore.rekor)))
    refuses(alone, logged, "about another signer")
    unknown_log = require(keyData=data(public_pem(key)), rekorPublicKeyData=data(public_pem(other)))
    refuses(unknown_log, logged, "not signed by a trusted Rekor key")


# --- Rekor's bundle ---------------------------------------------------------------------


def test_a_bundle_must_be_about_this_very_signature(sigstore, fulcio):
    leaf = sigstore.leaf()
    good = sigstore.certified(PAYLOAD, leaf)
    raw = base64.b64decode(good.annotations["dev.cosignproject.cosign/signature"])
    other = sigstore.leaf()
    for bundle, reason in [
        (sigstore.promise(PAYLOAD, raw, other.pem), "another signer"),
        (sigstore.promise(PAYLOAD, sign(leaf.key, b"x"), leaf.pem), "another signature"),
        (sigstore.promise(b"other", raw, leaf.pem), "another payload"),
        (sigstore.promise(PAYLOAD, raw, leaf.pem, key=make_key()), "trusted Rekor key"),
    ]:
        annotations = {**good.annotations, "dev.sigstore.cosign/bundle": bundle}
        refuses(fulcio(), good._replace(annotations=annotations), reason)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "intoto"},
        {"apiVersion": "0.0.2"},
        {"spec": {}},
        {"spec": {"data": {"hash": {"algorithm": "sha512", "value": ""}}, "signature": {}}},
    ],
)
def test_an_entry_of_another_form(sigstore, fulcio, change):
    leaf = sigstore.leaf()
    good = sigstore.certified(PAYLOAD, leaf)
    raw = base64.b64decode(good.annotations["dev.cosignproject.cosign/signature"])
    bundle = sigstore.promise(PAYLOAD, raw, leaf.pem, **change)
    with pytest.raises(InvalidArgument, match="Rekor bundle"):
        open_sigstore(
            fulcio(), good._replace(annotations={**good.annotations, "dev.sigstore.cosign/bundle": bundle})
        )


def test_a_changed_promise(sigstore, fulcio):
    good = sigstore.certified(PAYLOAD, sigstore.leaf())
    document = json.loads(good.annotations["dev.sigstore.cosign/bundle"])
    for key, value in [("integratedTime", 5), ("logIndex", 8), ("logID", "cd" * 32)]:
        changed = {**document, "Payload": {**document["Payload"], key: value}}
        annotations = {**good.annotations, "dev.sigstore.cosign/bundle": json.dumps(changed)}
        refuses(fulcio(), good._replace(annotations=annotations), "not signed by a trusted Rekor key")
    for broken in ("{}", "[]", "x", json.dumps({**document, "more": 1})):
        annotations = {**good.annotations, "dev.sigstore.cosign/bundle": broken}
        with pytest.raises(InvalidArgument, match="Rekor bundle"):
            open_sigstore(fulcio(), good._replace(annotations=annotations))


# --- Fulcio -----------------------------------------------------------------------------


def test_by_a_certificate_of_fulcio(sigstore, fulcio):
    assert open_sigstore(fulcio(), sigstore.certified(PAYLOAD, sigstore.leaf()))
    newer = sigstore.leaf(extensions=(NAMES, CODE_SIGNING, issuer_extension_v2(ISSUER)))
    assert open_sigstore(fulcio(), sigstore.certified(PAYLOAD, newer))
    both = sigstore.leaf(extensions=(NAMES, CODE_SIGNING, ISSUER_EXTENSION, issuer_extension_v2(ISSUER)))
    assert open_sigstore(fulcio(), sigstore.certified(PAYLOAD, both))


def test_a_certificate_that_has_expired_since_was_good_when_it_was_logged(sigstore, fulcio):
    brief = sigstore.leaf(start=-dt.timedelta(hours=5), end=-dt.timedelta(hours=4))
    then = time.time() - 4.5 * 3600
    assert open_sigstore(fulcio(), sigstore.certified(PAYLOAD, brief, at_s=then))
    refuses(fulcio(), sigstore.certified(PAYLOAD, brief), "not valid at validation time")
    refuses(fulcio(), sigstore.certified(PAYLOAD, brief, at_s=then - 7200), "not valid at validation time")


def test_who_signed(sigstore, fulcio):
    good = sigstore.certified(PAYLOAD, sigstore.leaf())
    refuses(fulcio(oidcIssuer="https://other.example"), good, "identified by 'https://issuer.example'")
    refuses(fulcio(subjectEmail="other@example.com"), good, "the signer is .*not 'other@example.com'")
    nobody = sigstore.leaf(extensions=(NAMES, CODE_SIGNING))
    refuses(fulcio(), sigstore.certified(PAYLOAD, nobody), "identified by ''")
    torn = sigstore.leaf(extensions=(NAMES, CODE_SIGNING, ISSUER_EXTENSION, issuer_extension_v2("https://x")))
    refuses(fulcio(), sigstore.certified(PAYLOAD, torn), "two identity providers")
    nameless = sigstore.leaf(extensions=(CODE_SIGNING, ISSUER_EXTENSION))
    refuses(fulcio(), sigstore.certified(PAYLOAD, nameless), "the signer is")


def test_the_key_of_the_certificate_must_have_signed(sigstore, fulcio):
    leaf = sigstore.leaf()
    raw = sign(make_key(), PAYLOAD)
    good = sigstore.certified(PAYLOAD, leaf)
    annotations = {
        **good.annotations,
        "dev.cosignproject.cosign/signature": data(raw),
        "dev.sigstore.cosign/bundle": sigstore.promise(PAYLOAD, raw, leaf.pem),
    }
    refuses(fulcio(), good._replace(annotations=annotations), "not by a trusted key")


# --- chains -----------------------------------------------------------------------------


def chain_faults(sigstore):
    """(leaf, chain PEM, reason) of chains that lead nowhere."""
    server = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    root = sigstore.root
    stranger = issue("root", extensions=[authority()])
    plain = issue("intermediate", root, [(x509.BasicConstraints(False, None), True)])
    web = issue("intermediate", root, [authority(), server])
    short = issue("middle", issue("intermediate", root, [authority(0)]), [authority()])
    old = issue("intermediate", root, [authority()], start=-3 * DAY, end=-2 * DAY)
    narrow = issue(
        "intermediate", root, [authority(), (x509.NameConstraints([x509.RFC822Name("x.org")], None), True)]
    )
    unknown = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x"), True)

    def chain(*issued):
        return b"".join(one.pem for one in (*issued, root)).decode()

    yield sigstore.leaf(extensions=(NAMES, server, ISSUER_EXTENSION)), None, "code signing"
    yield sigstore.leaf(extensions=(NAMES, CODE_SIGNING, ISSUER_EXTENSION, unknown)), None, "critical"
    yield sigstore.leaf(issuer=stranger), stranger.pem.decode(), "no trusted root"
    yield sigstore.leaf(), "", "no trusted root"
    yield sigstore.leaf(issuer=plain), chain(plain), "no trusted root"
    yield sigstore.leaf(issuer=web), chain(web), "no trusted root"
    yield sigstore.leaf(issuer=short), chain(short), "no trusted root"
    yield sigstore.leaf(issuer=old), chain(old), "no trusted root"
    yield sigstore.leaf(issuer=narrow), chain(narrow), "no trusted root"


def test_a_chain_that_does_not_lead_to_the_root(sigstore, fulcio, pki):
    for leaf, chain, reason in chain_faults(sigstore):
        refuses(fulcio(), sigstore.certified(PAYLOAD, leaf, chain=chain), reason)
        refuses(pki(), sigstore.certified(PAYLOAD, leaf, chain=chain), reason)


def test_a_root_that_comes_with_the_signature_is_not_believed(fulcio, pki):
    forged = Sigstore()
    signature = forged.certified(PAYLOAD, forged.leaf())
    refuses(pki(), signature, "no trusted root")
    refuses(fulcio(), signature, "trusted Rekor key")


def test_malformed_certificates_are_one_clear_error(sigstore, fulcio):
    good = sigstore.certified(PAYLOAD, sigstore.leaf())
    for name in ("certificate", "chain"):
        annotations = {**good.annotations, f"dev.sigstore.cosign/{name}": "-----BEGIN CERTIFICATE-----\nx\n"}
        with pytest.raises(InvalidArgument):
            open_sigstore(fulcio(), good._replace(annotations=annotations))


# --- one's own authority ------------------------------------------------------------------


def test_by_a_certificate_of_one_s_own_authority(sigstore, pki):
    leaf = sigstore.leaf(extensions=(NAMES,))
    bare = sigstore.certified(PAYLOAD, leaf, bundle=False)
    assert open_sigstore(pki(), bare)
    assert open_sigstore(pki(subjectHostname=HOST), bare)
    unchained = sigstore.certified(PAYLOAD, leaf, chain="", bundle=False)
    refuses(pki(), unchained, "no trusted root")
    assert open_sigstore(pki(caIntermediatesData=data(sigstore.intermediate.pem)), unchained)


def test_one_s_own_authority_names_mail_host_or_both(sigstore, pki):
    bare = sigstore.certified(PAYLOAD, sigstore.leaf(), bundle=False)
    refuses(pki(subjectEmail="other@example.com"), bare, "not 'other@example.com'")
    refuses(pki(subjectHostname="other.example.com"), bare, "not 'other.example.com'")
    refuses(pki(subjectEmail="", subjectHostname="example.com"), bare, "not 'example.com'")
    wild = (x509.SubjectAlternativeName([x509.DNSName("*.example.com")]), True)
    starred = sigstore.certified(PAYLOAD, sigstore.leaf(extensions=(wild,)), bundle=False)
    assert open_sigstore(pki(subjectEmail="", subjectHostname="Build.example.com"), starred)
    refuses(pki(subjectEmail="", subjectHostname="a.b.example.com"), starred, "the signer is")


def test_a_certificate_of_one_s_own_must_be_valid_now(sigstore, pki):
    gone = sigstore.leaf(start=-3 * DAY, end=-2 * DAY)
    refuses(pki(), sigstore.certified(PAYLOAD, gone, bundle=False), "not valid at validation time")
