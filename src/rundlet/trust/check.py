"""The judgement: does a policy let an image in, and if not, which requirement said no, and why.

    policy, identity ─▶ requirements of the most specific scope
    each of them, with the manifest's bytes and the signatures ─▶ Finding
    all held ─▶ Verdict.accepted

Only what a question needs is read: signatures when a requirement asks for them, keys and
cryptography when there is a signature to check with.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rundlet.errors import Error, InvalidArgument, PermissionDenied
from rundlet.spec.claim import SIMPLE_TYPE, Claim, parse_claim
from rundlet.spec.digest import Digest
from rundlet.spec.policy import AcceptAnything, Policy, Reject, Requirement, SignedBy, SigstoreSigned
from rundlet.trust.bundle import is_bundle
from rundlet.trust.gpg import Keyring, import_keys
from rundlet.trust.identity import Applied, ImageIdentity, find_requirements
from rundlet.trust.keyfile import read_key
from rundlet.trust.matching import matches
from rundlet.trust.signature import (
    COSIGN_MEDIA_TYPE,
    Signature,
    SigstoreSignature,
    SimpleSignature,
    decode_signature,
)

OpenClaim = Callable[[Any], Claim]


class PolicyRefusal(PermissionDenied):
    """A policy does not let an image in."""


class Finding(NamedTuple):
    """What one requirement says; `reasons` are empty when it holds."""

    requirement: str
    reasons: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """`where` is the place in the policy that was asked."""

    identity: ImageIdentity
    where: str
    findings: tuple[Finding, ...]

    @property
    def accepted(self) -> bool:
        return not any(finding.reasons for finding in self.findings)

    def describe(self) -> list[str]:
        """A line for the image and one for each requirement."""
        lines = [f"{self.identity}: {'accepted' if self.accepted else 'refused'} by {self.where}"]
        for index, finding in enumerate(self.findings):
            said = "; ".join(finding.reasons) or "holds"
            lines.append(f"  [{index}] {finding.requirement}: {said}")
        return lines


class SignedManifest(NamedTuple):
    """What signatures are about: the bytes, verified against `digest` before anything of them is believed."""

    raw: bytes
    digest: Digest

    def has(self, digest: Digest) -> bool:
        """Whether `digest` is another algorithm's of the same bytes, or the same one."""
        if digest.algorithm == self.digest.algorithm:
            return digest == self.digest
        return Digest.of(self.raw, digest.algorithm) == digest


def check_image(
    policy: Policy,
    identity: ImageIdentity,
    manifest: SignedManifest,
    read_signatures: Callable[[], Sequence[bytes]],
) -> Verdict:
    """The verdict of an image that may come in; PolicyRefusal, with every reason, for one that may not.

    `read_signatures` is called when the policy needs them (encoded as `trust.signature`
    draws) and may raise.
    """
    applied = find_requirements(policy, identity)
    signed = any(isinstance(one, SignedBy | SigstoreSigned) for one in applied.requirements)
    verdict = evaluate(applied, identity, manifest, read_signatures() if signed else ())
    if not verdict.accepted:
        refused = [finding for finding in verdict.findings if finding.reasons]
        reasons = "; ".join(f"{one.requirement}: {', '.join(one.reasons)}" for one in refused)
        raise PolicyRefusal(
            f"image {identity}: refused by the policy: {reasons}",
            hint=f"the policy says so at {verdict.where}",
        )
    return verdict


def evaluate(
    applied: Applied, identity: ImageIdentity, manifest: SignedManifest, signatures: Sequence[bytes]
) -> Verdict:
    """What each requirement says of an image with these signatures; never raises for a bad signature."""
    findings = tuple(_judge(one, identity, manifest, signatures) for one in applied.requirements)
    return Verdict(identity, applied.where, findings)


def _judge(
    requirement: Requirement, identity: ImageIdentity, manifest: SignedManifest, signatures: Sequence[bytes]
) -> Finding:
    if isinstance(requirement, AcceptAnything):
        return Finding("insecureAcceptAnything")
    if isinstance(requirement, Reject):
        return Finding("reject", ("it rejects every image",))
    sorted_out = _sort(requirement, signatures)
    name = f"{_NAMES[type(requirement)]} ({', '.join(_describe_keys(requirement))})"
    if not sorted_out.fitting:
        return Finding(name, sorted_out.faults or ("the image has no such signature",))
    try:
        with _opener(requirement) as open_claim:
            reasons = []
            for signature in sorted_out.fitting:
                reason = _find_fault(requirement, signature, open_claim, identity, manifest)
                if not reason:
                    return Finding(name)
                reasons.append(reason)
    except Error as error:  # the policy's own keys cannot be used
        reasons = [error.message]
    return Finding(name, (*sorted_out.faults, *reasons))


_NAMES = {SignedBy: "signedBy", SigstoreSigned: "sigstoreSigned"}


def _describe_keys(requirement: SignedBy | SigstoreSigned) -> list[str]:
    if isinstance(requirement, SigstoreSigned) and requirement.fulcio:
        return [f"fulcio {requirement.fulcio.subject_email}"]
    if isinstance(requirement, SigstoreSigned) and requirement.pki:
        return [f"pki {requirement.pki.subject_email or requirement.pki.subject_hostname}"]
    return [source.describe() for source in requirement.keys]


class _Sorted(NamedTuple):
    """The signatures of the kind that a requirement asks for, and what cannot be read at all."""

    fitting: list[Signature]
    faults: tuple[str, ...]


def _sort(requirement: SignedBy | SigstoreSigned, signatures: Sequence[bytes]) -> _Sorted:
    kind = SimpleSignature if isinstance(requirement, SignedBy) else SigstoreSignature
    fitting: list[Signature] = []
    faults: list[str] = []
    for index, raw in enumerate(signatures, 1):
        try:
            signature = decode_signature(raw, f"signature {index}")
        except InvalidArgument as error:
            faults.append(error.message)
            continue
        if isinstance(signature, kind) and _may_claim(signature):
            fitting.append(signature)
    return _Sorted(fitting, tuple(faults))


def _may_claim(signature: Signature) -> bool:
    """False for attestations of the old form: they are attached as signatures are, with other media types."""
    if isinstance(signature, SimpleSignature):
        return True
    return signature.media_type == COSIGN_MEDIA_TYPE or is_bundle(signature.media_type)


@contextmanager
def _opener(requirement: SignedBy | SigstoreSigned) -> Iterator[OpenClaim]:
    """What gives the claim of a signature by one of the requirement's keys, and raises for any other."""
    if isinstance(requirement, SignedBy):
        with import_keys([read_key(source) for source in requirement.keys]) as ring:
            yield lambda signature: _open_simple(ring, signature)
        return
    from rundlet.trust.sigstore import open_sigstore  # cryptography takes long to import

    yield lambda signature: open_sigstore(requirement, signature)


def _open_simple(ring: Keyring, signature: SimpleSignature) -> Claim:
    return parse_claim(ring.open_message(signature.message).payload, SIMPLE_TYPE, "signed payload")


def _find_fault(
    requirement: SignedBy | SigstoreSigned,
    signature: Signature,
    open_claim: OpenClaim,
    identity: ImageIdentity,
    manifest: SignedManifest,
) -> str:
    """Why a signature does not do, "" when it does."""
    try:
        claim = open_claim(signature)
    except Error as error:
        return error.message
    if not manifest.has(claim.digest):
        return f"it signs another manifest, {claim.digest}"
    if not matches(requirement.signed_identity, identity.reference, claim.reference):
        if claim.reference is None:
            return "it signs no name, which does only for an image that is asked for by its digest"
        return f"it signs the name {claim.reference}, which is not accepted here"
    return ""
