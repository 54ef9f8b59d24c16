"""Sigstore bundles for tests: statements, envelopes, a log with a tree of its own; as cosign 3 and Rekor write them."""

import base64
import hashlib
import json
import time

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rundlet.spec.statement import SIGN_PREDICATE, STATEMENT_TYPE
from rundlet.trust.bundle import BUNDLE_MEDIA_TYPE
from rundlet.trust.signature import SigstoreSignature
from tests.trust.authority import make_key, public_pem, sign


def b64(raw):
    return base64.b64encode(raw).decode()


def statement(manifest, name="", predicate_type=SIGN_PREDICATE, **changes):
    """What cosign says of a manifest; it leaves out the name."""
    subject = {"digest": {"sha256": hashlib.sha256(manifest).hexdigest()}, **({"name": name} if name else {})}
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": {},
        **changes,
    }
    return json.dumps(document).encode()


def envelope_bytes(payload, kind=STATEMENT_TYPE):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def tree_root(entries):
    """RFC 6962, 2.1, by its definition."""
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    half = _split(len(entries))
    return hashlib.sha256(b"\1" + tree_root(entries[:half]) + tree_root(entries[half:])).digest()


def tree_path(index, entries):
    """RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    half = _split(len(entries))
    if index < half:
        return [*tree_path(index, entries[:half]), tree_root(entries[half:])]
    return [*tree_path(index - half, entries[half:]), tree_root(entries[:half])]


def _split(size):
    return 1 << (size - 1).bit_length() - 1


class Log:
    """A transparency log with other people's entries before and after ours."""

    def __init__(self, key=None):
        self.key = key or make_key()
        self.sign = lambda message: sign(self.key, message)

    def entry(self, body, *, at_s=None, promise=True, proof=True, others=(b"a", b"b", b"c", b"d", b"e")):
        found = {
            "logIndex": "1207",
            "logId": {"keyId": b64(b"\xab" * 32)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "integratedTime": str(int(time.time() if at_s is None else at_s)),
        }
        raw = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        if promise:
            promised = {
                "body": b64(raw),
                "integratedTime": int(found["integratedTime"]),
                "logID": "ab" * 32,
                "logIndex": 1207,
            }
            canonical = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
            found["inclusionPromise"] = {"signedEntryTimestamp": b64(self.sign(canonical))}
        if proof:
            found["inclusionProof"] = self.proof([*others[:3], raw, *others[3:]], 3)
        return {**found, "canonicalizedBody": b64(raw)}

    def proof(self, entries, index):
        root = tree_root(entries)
        note = f"rekor.example - 5\n{len(entries)}\n{b64(root)}\n"
        line = f"— rekor.example {b64(b'hint' + self.sign(note.encode()))}\n"
        return {
            "logIndex": str(index),
            "treeSize": str(len(entries)),
            "rootHash": b64(root),
            "hashes": [b64(one) for one in tree_path(index, entries)],
            "checkpoint": {"envelope": f"{note}\n{line}"},
        }


def old_body(payload, signature, signer_pem):
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": b64(signature), "verifier": b64(signer_pem)}],
        },
    }


def new_body(payload, signature, key):
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    verifier = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": b64(der)}}
    sums = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(payload).digest())}
    spec = {
        "dsseV002": {"payloadHash": sums, "signatures": [{"content": b64(signature), "verifier": verifier}]}
    }
    return {"apiVersion": "0.0.2", "kind": "dsse", "spec": spec}


def make_bundle(payload, key, *, certificate=None, chain=(), entries=(), signature=None, **changes):
    """A bundle by `key`; `certificate` and `chain` are x509, `entries` the log's."""
    raw = signature or sign(key, envelope_bytes(payload))
    material = {"tlogEntries": list(entries)}
    ders = [b64(one.public_bytes(Encoding.DER)) for one in ([certificate] if certificate else []) + [*chain]]
    if len(ders) > 1:
        material["x509CertificateChain"] = {"certificates": [{"rawBytes": der} for der in ders]}
    elif ders:
        material["certificate"] = {"rawBytes": ders[0]}
    else:
        material["publicKey"] = {"hint": "h"}
    document = {
        "mediaType": BUNDLE_MEDIA_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": b64(payload),
            "payloadType": STATEMENT_TYPE,
            "signatures": [{"sig": b64(raw), "keyid": ""}],
        },
        **changes,
    }
    return SigstoreSignature(BUNDLE_MEDIA_TYPE, json.dumps(document).encode(), {})


def logged_bundle(payload, key, log, *, new=False, **options):
    """A bundle by a bare key that `log` has an entry of."""
    raw = sign(key, envelope_bytes(payload))
    body = new_body(payload, raw, key) if new else old_body(payload, raw, public_pem(key))
    return make_bundle(payload, key, signature=raw, entries=[log.entry(body, **options)])


def certified_bundle(payload, leaf, log, *, chain=(), **options):
    """A bundle by `leaf`'s key with its certificate, and an entry in `log`."""
    raw = sign(leaf.key, envelope_bytes(payload))
    entry = log.entry(old_body(payload, raw, leaf.pem), **options)
    return make_bundle(
        payload, leaf.key, certificate=leaf.certificate, chain=chain, signature=raw, entries=[entry]
    )
