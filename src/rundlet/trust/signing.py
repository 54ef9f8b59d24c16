"""Making signatures: the claim that a manifest is an image, signed by GPG or by a sigstore key.

All results are encoded as `trust.signature` draws, ready for `dir:` images, lookaside storage
and attachments.
"""

import os
import time

from rundlet.errors import AlreadyExists, InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.spec.base64 import encode_base64
from rundlet.spec.claim import SIGSTORE_TYPE, SIMPLE_TYPE, Claim, format_claim
from rundlet.spec.digest import Digest
from rundlet.spec.reference import Reference
from rundlet.trust.gpg import sign_message
from rundlet.trust.keyfile import read_key_file
from rundlet.trust.signature import (
    COSIGN_MEDIA_TYPE,
    SIGNATURE_ANNOTATION,
    SigstoreSignature,
    encode_signature,
)


def sign_simple(
    digest: Digest, reference: Reference, key: str, passphrase: str | None = None, home: str = ""
) -> bytes:
    """Simple signing by the GPG key `key` of the user's ring (or of the ring at `home`).

    Raises InvalidArgument (a reference without tag and digest), FailedPrecondition (no such
    key, no passphrase).
    """
    return sign_message(format_claim(_claim(digest, reference), SIMPLE_TYPE), key, passphrase, home)


def sign_sigstore(digest: Digest, reference: Reference, key_path: str, passphrase: str) -> bytes:
    """A sigstore signature by the sealed private key in a file of cosign's format.

    Raises InvalidArgument, FailedPrecondition (unreadable), PermissionDenied (passphrase).
    """
    from rundlet.trust.sealedkey import open_private_key, sign_bytes  # cryptography takes long to import

    key = open_private_key(read_key_file(key_path), passphrase, key_path)
    payload = format_claim(_claim(digest, reference), SIGSTORE_TYPE)
    annotations = {SIGNATURE_ANNOTATION: encode_base64(sign_bytes(key, payload))}
    return encode_signature(SigstoreSignature(COSIGN_MEDIA_TYPE, payload, annotations))


def generate_sigstore_key(prefix: str, passphrase: str) -> tuple[str, str]:
    """Write PREFIX.private (sealed) and PREFIX.pub; returns both paths.  AlreadyExists replaces nothing."""
    from rundlet.trust.sealedkey import generate_key_pair

    paths = f"{prefix}.private", f"{prefix}.pub"
    for path in paths:
        if os.path.lexists(path):
            raise AlreadyExists(f"{path}: there is a file of that name already")
    pair = generate_key_pair(passphrase)
    _write_new(paths[0], pair.private, 0o600)
    _write_new(paths[1], pair.public, 0o644)
    return paths


def _claim(digest: Digest, reference: Reference) -> Claim:
    if not reference.tag and not reference.digest:
        raise InvalidArgument(f"cannot sign for {reference}: neither a tag nor a digest")
    return Claim(digest, reference, timestamp_s=int(time.time()))


def _write_new(path: str, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with translating(f"write {path}"), open(os.open(path, flags, mode), "wb") as file:
        file.write(content)
