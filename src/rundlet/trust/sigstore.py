"""Sigstore signatures against a policy's keys, Fulcio's authority with Rekor's log, or one's own authority.

payload (a claim) ◀── signature ──  key  ◀── the policy
                                    key  ◀── certificate ◀── chain ◀── the policy's root
                                                at the time that Rekor's bundle gives
"""

import time

from rundlet.errors import Error, PermissionDenied
from rundlet.spec.base64 import decode_base64
from rundlet.spec.claim import SIGSTORE_TYPE, Claim, parse_claim
from rundlet.spec.policy import Fulcio, KeySource, Pki, SigstoreSigned
from rundlet.trust.certificate import names_host, parse_certificates, verify_signer
from rundlet.trust.keyfile import read_key
from rundlet.trust.publickey import PublicKey, encode_public_key, parse_public_key, verifies
from rundlet.trust.rekor import LoggedSignature, verify_bundle
from rundlet.trust.signature import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    CHAIN_ANNOTATION,
    SIGNATURE_ANNOTATION,
    SigstoreSignature,
)


def open_sigstore(requirement: SigstoreSigned, signature: SigstoreSignature) -> Claim:
    """The claim in `signature`, when somebody signed it whom the requirement trusts.

    Raises PermissionDenied (nobody did), InvalidArgument (malformed), FailedPrecondition (the
    policy's keys cannot be read).
    """
    raw = decode_base64(_annotation(signature, SIGNATURE_ANNOTATION), SIGNATURE_ANNOTATION)
    keys = _find_signers(requirement, signature, raw)
    if not any(verifies(key, raw, signature.payload) for key in keys):
        raise PermissionDenied("the signature is not by a trusted key")
    return parse_claim(signature.payload, SIGSTORE_TYPE, "signed payload")


def _find_signers(requirement: SigstoreSigned, signature: SigstoreSignature, raw: bytes) -> list[PublicKey]:
    """The keys that this signature may be by."""
    rekor_keys = [_load_key(source) for source in requirement.rekor_keys]
    if requirement.fulcio:
        return [_check_fulcio(requirement.fulcio, rekor_keys, signature, raw)]
    if requirement.pki:
        return [_check_pki(requirement.pki, signature)]
    keys = [_load_key(source) for source in requirement.keys]
    return _find_logged(keys, rekor_keys, signature, raw) if rekor_keys else keys


def _find_logged(
    keys: list[PublicKey], rekor_keys: list[PublicKey], signature: SigstoreSignature, raw: bytes
) -> list[PublicKey]:
    """The one of `keys` that Rekor has logged this signature with."""
    bundle = _annotation(signature, BUNDLE_ANNOTATION)
    failure: Error | None = None
    for key in keys:
        try:
            verify_bundle(bundle, rekor_keys, LoggedSignature(raw, signature.payload, encode_public_key(key)))
        except PermissionDenied as error:
            failure = error
        else:
            return [key]
    raise failure or PermissionDenied("no key")


def _check_fulcio(
    fulcio: Fulcio, rekor_keys: list[PublicKey], signature: SigstoreSignature, raw: bytes
) -> PublicKey:
    certificate = _annotation(signature, CERTIFICATE_ANNOTATION).encode()
    bundle = _annotation(signature, BUNDLE_ANNOTATION)
    logged_at_s = verify_bundle(bundle, rekor_keys, LoggedSignature(raw, signature.payload, certificate))
    roots = parse_certificates(read_key(fulcio.authority), fulcio.authority.describe())
    chain = signature.annotations.get(CHAIN_ANNOTATION, "").encode()
    signer = verify_signer(certificate, chain, roots, [], logged_at_s)
    if signer.issuer != fulcio.oidc_issuer:
        raise PermissionDenied(
            f"the signer was identified by {signer.issuer!r}, not by {fulcio.oidc_issuer!r}"
        )
    _check_email(fulcio.subject_email, signer.emails)
    return signer.key


def _check_pki(pki: Pki, signature: SigstoreSignature) -> PublicKey:
    certificate = _annotation(signature, CERTIFICATE_ANNOTATION).encode()
    chain = signature.annotations.get(CHAIN_ANNOTATION, "").encode()
    roots = parse_certificates(read_key(pki.roots), pki.roots.describe())
    between = [
        certificate
        for source in pki.intermediates
        for certificate in parse_certificates(read_key(source), source.describe())
    ]
    signer = verify_signer(certificate, chain, roots, between, time.time())
    if pki.subject_email:
        _check_email(pki.subject_email, signer.emails)
    if pki.subject_hostname and not names_host(signer.hostnames, pki.subject_hostname):
        raise PermissionDenied(f"the signer is {list(signer.hostnames)}, not {pki.subject_hostname!r}")
    return signer.key


def _check_email(wanted: str, found: tuple[str, ...]) -> None:
    if wanted not in found:
        raise PermissionDenied(f"the signer is {list(found)}, not {wanted!r}")


def _load_key(source: KeySource) -> PublicKey:
    return parse_public_key(read_key(source), source.describe())


def _annotation(signature: SigstoreSignature, name: str) -> str:
    found = signature.annotations.get(name)
    if found is None:
        raise PermissionDenied(f"annotation {name} is missing")
    return found
