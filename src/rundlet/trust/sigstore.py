"""Sigstore signatures against a policy's keys, Fulcio's authority with Rekor's log, or one's own authority.

payload (a claim) ◀── signature ──  key  ◀── the policy
                                    key  ◀── certificate ◀── chain ◀── the policy's root
                                                at the time that Rekor's bundle gives

A signature comes as a claim with annotations (cosign before version 3), or as one bundle.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rundlet.errors import Error, InvalidArgument, PermissionDenied
from rundlet.spec.base64 import decode_base64
from rundlet.spec.claim import SIGSTORE_TYPE, Claim, parse_claim
from rundlet.spec.policy import Fulcio, KeySource, Pki, SigstoreSigned
from rundlet.spec.statement import parse_statement
from rundlet.trust.bundle import Bundle, is_bundle, parse_bundle
from rundlet.trust.certificate import names_host, parse_certificates, verify_signer
from rundlet.trust.keyfile import read_key
from rundlet.trust.publickey import PublicKey, encode_public_key, parse_public_key, verifies
from rundlet.trust.rekor import LoggedSignature, verify_bundle, verify_entry
from rundlet.trust.signature import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    CHAIN_ANNOTATION,
    SIGNATURE_ANNOTATION,
    SigstoreSignature,
)


class _Sealed(NamedTuple):
    """A signature, whatever form it came in; `signed` are the bytes under it, `payload` what is said by them.

    `certificate` and `chain` are PEM; `find_time_s` asks the logs that the signer (PEM) is in,
    and gives the time that they give, None for none.
    """

    signature: bytes
    signed: bytes
    certificate: Callable[[], bytes]
    chain: bytes
    find_time_s: Callable[[Sequence[PublicKey], bytes], int | None]
    read_claim: Callable[[], Claim]


def open_sigstore(requirement: SigstoreSigned, signature: SigstoreSignature) -> Claim:
    """The claim in `signature`, when somebody signed it whom the requirement trusts.

    Raises PermissionDenied (nobody did), InvalidArgument (malformed), FailedPrecondition (the
    policy's keys cannot be read).
    """
    sealed = _take_bundle(signature) if is_bundle(signature.media_type) else _take_annotations(signature)
    keys = _find_signers(requirement, sealed)
    if not any(verifies(key, sealed.signature, sealed.signed) for key in keys):
        raise PermissionDenied("the signature is not by a trusted key")
    return sealed.read_claim()


def _take_annotations(signature: SigstoreSignature) -> _Sealed:
    raw = decode_base64(_annotation(signature, SIGNATURE_ANNOTATION), SIGNATURE_ANNOTATION)
    payload = signature.payload
    return _Sealed(
        raw,
        payload,
        lambda: _annotation(signature, CERTIFICATE_ANNOTATION).encode(),
        signature.annotations.get(CHAIN_ANNOTATION, "").encode(),
        lambda keys, signer: verify_bundle(
            _annotation(signature, BUNDLE_ANNOTATION), keys, LoggedSignature(raw, payload, signer)
        ),
        lambda: parse_claim(payload, SIGSTORE_TYPE, "signed payload"),
    )


def _take_bundle(signature: SigstoreSignature) -> _Sealed:
    bundle = parse_bundle(signature.payload)
    return _Sealed(
        bundle.signature,
        bundle.signed,
        lambda: _first_certificate(bundle),
        b"".join(bundle.certificates[1:]),
        lambda keys, signer: _find_entry(
            bundle, keys, LoggedSignature(bundle.signature, bundle.payload, signer)
        ),
        lambda: parse_statement(bundle.payload, "signed payload"),
    )


def _first_certificate(bundle: Bundle) -> bytes:
    if not bundle.certificates:
        raise PermissionDenied("the bundle has no certificate")
    return bundle.certificates[0]


def _find_entry(bundle: Bundle, keys: Sequence[PublicKey], logged: LoggedSignature) -> int | None:
    """The first entry that holds; the last failure when none does."""
    failure: Error = PermissionDenied("the bundle is in no transparency log")
    for entry in bundle.entries:
        try:
            return verify_entry(entry, keys, logged)
        except (PermissionDenied, InvalidArgument) as error:
            failure = error
    raise failure


def _find_signers(requirement: SigstoreSigned, sealed: _Sealed) -> list[PublicKey]:
    """The keys that this signature may be by."""
    rekor_keys = [_load_key(source) for source in requirement.rekor_keys]
    if requirement.fulcio:
        return [_check_fulcio(requirement.fulcio, rekor_keys, sealed)]
    if requirement.pki:
        return [_check_pki(requirement.pki, sealed)]
    keys = [_load_key(source) for source in requirement.keys]
    return _find_logged(keys, rekor_keys, sealed) if rekor_keys else keys


def _find_logged(keys: list[PublicKey], rekor_keys: list[PublicKey], sealed: _Sealed) -> list[PublicKey]:
    """The one of `keys` that Rekor has logged this signature with."""
    failure: Error | None = None
    for key in keys:
        try:
            sealed.find_time_s(rekor_keys, encode_public_key(key))
        except PermissionDenied as error:
            failure = error
        else:
            return [key]
    raise failure or PermissionDenied("no key")


def _check_fulcio(fulcio: Fulcio, rekor_keys: list[PublicKey], sealed: _Sealed) -> PublicKey:
    certificate = sealed.certificate()
    logged_at_s = sealed.find_time_s(rekor_keys, certificate)
    if logged_at_s is None:
        raise PermissionDenied("the log gives no time at which the certificate could have been valid")
    roots = parse_certificates(read_key(fulcio.authority), fulcio.authority.describe())
    signer = verify_signer(certificate, sealed.chain, roots, [], logged_at_s)
    if signer.issuer != fulcio.oidc_issuer:
        raise PermissionDenied(
            f"the signer was identified by {signer.issuer!r}, not by {fulcio.oidc_issuer!r}"
        )
    _check_email(fulcio.subject_email, signer.emails)
    return signer.key


def _check_pki(pki: Pki, sealed: _Sealed) -> PublicKey:
    roots = parse_certificates(read_key(pki.roots), pki.roots.describe())
    between = [
        certificate
        for source in pki.intermediates
        for certificate in parse_certificates(read_key(source), source.describe())
    ]
    signer = verify_signer(sealed.certificate(), sealed.chain, roots, between, time.time())
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
