"""Sigstore signatures as referrers of an image: what cosign 3 makes (OCI 1.1, `subject`).

manifest
  subject                           the manifest that is signed
  artifactType                      application/vnd.dev.sigstore.bundle.v0.3+json
  annotations
    dev.sigstore.bundle.content         dsse-envelope
    dev.sigstore.bundle.predicateType   https://sigstore.dev/cosign/sign/v1; another for attestations
  config                            {}, application/vnd.oci.empty.v1+json
  layers[0] (blob)                  the bundle (`trust.bundle`)

With artifactType application/vnd.dev.cosign.artifact.sig.v1+json the layers are as under cosign's tag
(`trust.attachments`).  Registries without the referrers API list them under a tag.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rundlet.errors import NotFound, ResourceExhausted
from rundlet.registry import repository
from rundlet.registry.access import Remote
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.json import encode
from rundlet.spec.manifest import Manifest, describe_referrer, parse_manifest
from rundlet.spec.statement import SIGN_PREDICATE
from rundlet.trust.attachments import SIGNATURES_MAX, read_layers
from rundlet.trust.bundle import is_bundle
from rundlet.trust.signature import SigstoreSignature

_COSIGN_TYPE: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
_CONTENT: Final = "dev.sigstore.bundle.content"
_PREDICATE: Final = "dev.sigstore.bundle.predicateType"
_EMPTY: Final = b"{}"


def read_referrers(
    remote: Remote, digest: Digest, *, deadline_ns: int | None = None
) -> list[SigstoreSignature]:
    """All signatures that refer to the manifest; none is verified, attestations are left out."""
    listed = repository.list_referrers(remote, digest, deadline_ns=deadline_ns)
    candidates = [one for one in listed if _may_sign(one)]
    if len(candidates) > SIGNATURES_MAX:
        raise ResourceExhausted(f"{remote.name}: more than {SIGNATURES_MAX} signatures refer to it")
    return [one for entry in candidates for one in _read_referrer(remote, entry, digest, deadline_ns)]


def add_referrers(remote: Remote, digest: Digest, bundles: Sequence[SigstoreSignature]) -> None:
    """Have those of `bundles` refer to the manifest that do not yet."""
    present = {one.payload for one in read_referrers(remote, digest)}
    fresh = [one for one in bundles if one.payload not in present]
    if not fresh:
        return
    signed = remote.client.fetch_manifest(remote.reference, digest, remote.credentials)
    subject = Descriptor(signed.media_type, str(digest), len(signed.raw))
    for bundle in fresh:
        raw = encode(_describe(bundle, subject))
        for content in (bundle.payload, _EMPTY):
            remote.client.push_blob(remote.reference, Digest.of(content), content, remote.credentials)
        own = Digest.of(raw)
        if not repository.push_manifest(remote, raw, mediatype.OCI_MANIFEST, str(own)):
            repository.add_fallback_referrer(
                remote, digest, describe_referrer(raw, mediatype.OCI_MANIFEST, own)
            )


def _may_sign(entry: Descriptor) -> bool:
    """Old lists give the config's type as the artifact's; the annotation tells attestations apart."""
    if entry.annotations.get(_PREDICATE, SIGN_PREDICATE) != SIGN_PREDICATE:
        return False
    return entry.artifact_type in (_COSIGN_TYPE, mediatype.OCI_EMPTY) or is_bundle(entry.artifact_type)


def _read_referrer(
    remote: Remote, entry: Descriptor, digest: Digest, deadline_ns: int | None
) -> Iterator[SigstoreSignature]:
    try:
        fetched = remote.client.fetch_manifest(
            remote.reference, entry.parsed_digest(), remote.credentials, deadline_ns=deadline_ns
        )
    except NotFound:  # removed since it was listed
        return
    manifest = parse_manifest(fetched.raw, fetched.media_type, f"signatures {entry.digest}")
    if not isinstance(manifest, Manifest) or not manifest.subject or manifest.subject.digest != str(digest):
        return
    if _COSIGN_TYPE in (manifest.artifact_type, manifest.config.media_type):
        yield from read_layers(remote, manifest.layers, deadline_ns)
    elif manifest.annotations.get(_PREDICATE, SIGN_PREDICATE) == SIGN_PREDICATE:
        bundles = [layer for layer in manifest.layers if is_bundle(layer.media_type)]
        yield from read_layers(remote, bundles, deadline_ns)


def _describe(bundle: SigstoreSignature, subject: Descriptor) -> Manifest:
    return Manifest(
        2,
        Descriptor(mediatype.OCI_EMPTY, str(Digest.of(_EMPTY)), len(_EMPTY)),
        (Descriptor(bundle.media_type, str(Digest.of(bundle.payload)), len(bundle.payload)),),
        media_type=mediatype.OCI_MANIFEST,
        artifact_type=bundle.media_type,
        subject=subject,
        annotations={_CONTENT: "dsse-envelope", _PREDICATE: SIGN_PREDICATE},
    )
