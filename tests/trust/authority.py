"""A whole sigstore for tests: keys, an authority with intermediates, Rekor's promise; nothing of it is online."""

import base64
import datetime as dt
import hashlib
import json
import time
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rundlet.spec.claim import SIGSTORE_TYPE, Claim, format_claim
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference
from rundlet.trust.signature import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    CHAIN_ANNOTATION,
    COSIGN_MEDIA_TYPE,
    SIGNATURE_ANNOTATION,
    SigstoreSignature,
)

DAY = dt.timedelta(days=1)
ISSUER = "https://issuer.example"
EMAIL = "signer@example.com"
HOST = "build.example.com"
CODE_SIGNING = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
NAMES = (x509.SubjectAlternativeName([x509.RFC822Name(EMAIL), x509.DNSName(HOST)]), True)
ISSUER_EXTENSION = (
    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), ISSUER.encode()),
    False,
)


def issuer_extension_v2(issuer):
    raw = issuer.encode()
    value = bytes([0x0C, len(raw)]) + raw
    return (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), value), False)


def make_key():
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign(key, message):
    return key.sign(message, ec.ECDSA(SHA256()))


class Issued(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self):
        return self.certificate.public_bytes(Encoding.PEM)


def issue(name, issuer=None, extensions=(), start=-DAY, end=DAY):
    """A certificate by `issuer`, by itself without one; `start` and `end` are relative to now."""
    key = make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(issuer.key if issuer else key, SHA256()), key)


def authority(path_length=None):
    return (x509.BasicConstraints(True, path_length), True)


class Sigstore:
    """A root, an intermediate, a Rekor key."""

    def __init__(self):
        self.root = issue("root", extensions=[authority()])
        self.intermediate = issue("intermediate", self.root, [authority()])
        self.rekor = make_key()

    @property
    def chain(self):
        return (self.intermediate.pem + self.root.pem).decode()

    def leaf(self, *, extensions=(NAMES, CODE_SIGNING, ISSUER_EXTENSION), issuer=None, **options):
        return issue("leaf", issuer or self.intermediate, extensions, **options)

    def certified(self, payload, leaf, *, at_s=None, chain=None, bundle=True):
        """A signature by `leaf`'s key with all its annotations."""
        raw = sign(leaf.key, payload)
        annotations = {
            SIGNATURE_ANNOTATION: base64.b64encode(raw).decode(),
            CERTIFICATE_ANNOTATION: leaf.pem.decode(),
            CHAIN_ANNOTATION: self.chain if chain is None else chain,
        }
        if bundle:
            annotations[BUNDLE_ANNOTATION] = self.promise(payload, raw, leaf.pem, at_s=at_s)
        return SigstoreSignature(COSIGN_MEDIA_TYPE, payload, annotations)

    def promise(self, payload, raw, signer_pem, *, at_s=None, key=None, **changes):
        """Rekor's bundle; `changes` replace members of the entry it is about."""
        entry = {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}},
                "signature": {
                    "content": base64.b64encode(raw).decode(),
                    "publicKey": {"content": base64.b64encode(signer_pem).decode()},
                },
            },
            **changes,
        }
        promised = {
            "body": base64.b64encode(json.dumps(entry).encode()).decode(),
            "integratedTime": int(time.time() if at_s is None else at_s),
            "logIndex": 7,
            "logID": "ab" * 32,
        }
        canonical = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
        stamp = base64.b64encode(sign(key or self.rekor, canonical)).decode()
        # Whoever carries the bundle may write it as it likes: the signature is over its canonical form.
        return json.dumps({"SignedEntryTimestamp": stamp, "Payload": promised}, indent=1)


def claim(manifest, reference):
    digest = Digest.of(manifest)
    return format_claim(Claim(digest, parse_reference(reference, default_tag="")), SIGSTORE_TYPE)


def signed_by_key(payload, key, **annotations):
    signature = base64.b64encode(sign(key, payload)).decode()
    return SigstoreSignature(COSIGN_MEDIA_TYPE, payload, {SIGNATURE_ANNOTATION: signature, **annotations})
