"""Signatures of manifests that lie in files, apart from any image: skopeo's standalone verbs."""

from collections.abc import Sequence
from typing import NamedTuple

from rundlet.errors import PermissionDenied
from rundlet.spec.claim import SIMPLE_TYPE, parse_claim
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference
from rundlet.trust.gpg import Keyring, OpenedMessage, import_keys

ANY_KEY = "any"


class Verified(NamedTuple):
    """Who signed what; `fingerprint` is that of the key that made the signature."""

    fingerprint: str
    digest: Digest


def verify_standalone(
    manifest: bytes,
    docker_reference: str,
    fingerprints: Sequence[str],
    signature: bytes,
    public_keys: Sequence[bytes] = (),
) -> Verified:
    """Check that a simple signature says `manifest` is `docker_reference`, by one of `fingerprints`.

    The keys are `public_keys`, or those of the user's own ring when there are none;
    "any" stands for every one of `public_keys`, never for the user's whole ring.
    Raises PermissionDenied, InvalidArgument.
    """
    if public_keys:
        with import_keys(public_keys) as ring:
            opened = ring.open_message(signature)
    else:
        opened = Keyring().open_message(signature)
    if not _is_wanted(opened, fingerprints, may_be_any=bool(public_keys)):
        raise PermissionDenied(f"signature: made by {opened.fingerprint}, not by a key that was asked for")
    claim = parse_claim(opened.payload, SIMPLE_TYPE, "signed payload")
    if Digest.of(manifest, claim.digest.algorithm) != claim.digest:
        raise PermissionDenied(f"signature: it signs another manifest, {claim.digest}")
    if claim.reference != parse_reference(docker_reference):
        raise PermissionDenied(f"signature: it signs the name {claim.reference}, not {docker_reference}")
    return Verified(opened.fingerprint, claim.digest)


def _is_wanted(opened: OpenedMessage, fingerprints: Sequence[str], *, may_be_any: bool) -> bool:
    wanted = {fingerprint.upper() for fingerprint in fingerprints}
    return bool(wanted & {opened.fingerprint, opened.primary}) or (may_be_any and ANY_KEY.upper() in wanted)
