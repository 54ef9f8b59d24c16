"""Certificates that vouch for a signer: the chain to a trusted root, who it was given to, by whom.

The chain is built and checked by `cryptography`'s verifier; what it does not know of is what
the certificates are for (code signing) and how sigstore writes a signer's identity:

    subjectAltName                  the mail address or host name
    1.3.6.1.4.1.57264.1.1           the identity provider, its bare text
    1.3.6.1.4.1.57264.1.8           the same as a DER UTF8String
"""

import datetime as dt
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.trust.publickey import PublicKey, check_public_key

_CHAIN_LENGTH_MAX: Final = 6
_ISSUER_TEXT: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_DER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_DER_UTF8: Final = 0x0C


class Signer(NamedTuple):
    """What a verified certificate says of its owner; `issuer` is sigstore's identity provider, or ""."""

    key: PublicKey
    emails: tuple[str, ...]
    hostnames: tuple[str, ...]
    issuer: str


def parse_certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """All certificates in `pem`, at least one; InvalidArgument."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidArgument(f"{what}: no PEM certificates: {error}") from error


def verify_signer(
    certificate_pem: bytes,
    chain_pem: bytes,
    roots: list[x509.Certificate],
    intermediates: list[x509.Certificate],
    at_s: float,
) -> Signer:
    """Who the one certificate was given to, when it leads to one of `roots` and was valid at `at_s`.

    `chain_pem` came with the signature: it may help to find the way, a root in it is never believed.
     Raises PermissionDenied, InvalidArgument (malformed).
    """
    leaves = parse_certificates(certificate_pem, "certificate")
    if len(leaves) != 1:
        raise InvalidArgument(f"certificate: expected one, got {len(leaves)}")
    offered = parse_certificates(chain_pem, "certificate chain") if chain_pem else []
    verifier = (
        PolicyBuilder()
        .store(Store(roots))
        .time(dt.datetime.fromtimestamp(at_s, dt.UTC))
        .max_chain_depth(_CHAIN_LENGTH_MAX)
        .extension_policies(ca_policy=_authority_policy(), ee_policy=_signer_policy())
        .build_client_verifier()
    )
    try:
        verifier.verify(leaves[0], [*intermediates, *offered])
    except VerificationError as error:
        raise PermissionDenied(f"certificate: it leads to no trusted root: {error}") from error
    return _read_signer(leaves[0])


def _authority_policy() -> ExtensionPolicy:
    """What makes a certificate an issuer; private authorities leave more out than the Web's may."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _check_authority)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_key_usage)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_purpose)
    )


def _signer_policy() -> ExtensionPolicy:
    any_extension = ExtensionPolicy.permit_all()
    return any_extension.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_purpose)


def _check_authority(_policy: Policy, _certificate: x509.Certificate, found: x509.BasicConstraints) -> None:
    if not found.ca:
        raise ValueError("not a certificate of an authority")


def _check_key_usage(_policy: Policy, _certificate: x509.Certificate, found: x509.KeyUsage | None) -> None:
    if found is not None and not found.key_cert_sign:
        raise ValueError("not a certificate that may sign others")


def _check_purpose(
    _policy: Policy, _certificate: x509.Certificate, found: x509.ExtendedKeyUsage | None
) -> None:
    """A certificate without the extension is good for anything (RFC 5280, 4.2.1.12)."""
    fitting = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if found is not None and not fitting & set(found):
        raise ValueError("not a certificate for code signing")


def _read_signer(certificate: x509.Certificate) -> Signer:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        emails = tuple(names.get_values_for_type(x509.RFC822Name))
        hostnames = tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        emails = hostnames = ()
    key = check_public_key(certificate.public_key(), "certificate")
    return Signer(key, emails, hostnames, _read_issuer(certificate))


def _read_issuer(certificate: x509.Certificate) -> str:
    found: set[str] = set()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.UnrecognizedExtension):
            raw = extension.value.value
            if extension.oid == _ISSUER_TEXT:
                found.add(raw.decode(errors="replace"))
            elif extension.oid == _ISSUER_DER:
                found.add(_decode_utf8_string(raw))
    if len(found) > 1:
        raise PermissionDenied("certificate: it names two identity providers")
    return next(iter(found), "")


def _decode_utf8_string(raw: bytes) -> str:
    """A DER UTF8String with nothing behind it; lengths of two bytes are more than any issuer has."""
    if len(raw) >= 2 and raw[0] == _DER_UTF8:
        if raw[1] < 0x80 and len(raw) == 2 + raw[1]:
            return raw[2:].decode(errors="replace")
        if raw[1] == 0x81 and len(raw) >= 3 and len(raw) == 3 + raw[2] and raw[2] >= 0x80:
            return raw[3:].decode(errors="replace")
    raise PermissionDenied("certificate: malformed identity provider")


def names_host(hostnames: tuple[str, ...], host: str) -> bool:
    """Whether one of a certificate's names is `host`; "*" stands for one first label (RFC 6125)."""
    wanted = host.lower().rstrip(".")
    _, dot, parent = wanted.partition(".")
    return any(name.lower() in (wanted, f"*.{parent}" if dot else wanted) for name in hostnames)
