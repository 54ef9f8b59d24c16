"""Sigstore signatures beside an image, in its registry, as cosign keeps them.

tag <algorithm>-<hex>.sig       of the manifest that is signed: cosign before version 3
  manifest
    layers[n].mediaType         application/vnd.dev.cosign.simplesigning.v1+json
    layers[n].annotations       the signature, its certificate, Rekor's bundle
    layers[n] (blob)            what is signed: the claim
    config (blob)               an image config that lists the blobs as diff ids

Version 3 keeps them as referrers (`trust.referrers`).
"""

from collections.abc import Sequence
from typing import Final

from rundlet.errors import NotFound, ResourceExhausted
from rundlet.registry.access import Remote
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.image import ImageConfig, RootFs
from rundlet.spec.json import encode
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.spec.reference import Reference
from rundlet.trust.signature import SigstoreSignature

_PAYLOAD_SIZE_MAX: Final = 4 << 20
SIGNATURES_MAX: Final = 128


def attachment_reference(reference: Reference, digest: Digest) -> Reference:
    """The name under which signatures of the manifest `digest` are kept."""
    return reference.with_tag(f"{digest.algorithm}-{digest.hex}.sig")


def read_attachments(
    remote: Remote, digest: Digest, *, deadline_ns: int | None = None
) -> list[SigstoreSignature]:
    """All that is attached to the manifest, signatures and what else has their form; none is verified."""
    manifest = _read_manifest(remote, digest, deadline_ns)
    return read_layers(remote, manifest.layers if manifest else (), deadline_ns)


def read_layers(
    remote: Remote, layers: Sequence[Descriptor], deadline_ns: int | None
) -> list[SigstoreSignature]:
    """The signatures that these layers of a manifest of signatures are."""
    if len(layers) > SIGNATURES_MAX:
        raise ResourceExhausted(f"{remote.name}: more than {SIGNATURES_MAX} signatures attached")
    return [_read_signature(remote, layer, deadline_ns) for layer in layers]


def add_attachments(remote: Remote, digest: Digest, signatures: Sequence[SigstoreSignature]) -> None:
    """Attach those of `signatures` that are not there yet; what is attached already stays as it is.

    Two writers at once: the later one's manifest wins, as with cosign; the registry has no lock.
    """
    manifest = _read_manifest(remote, digest, None)
    layers = list(manifest.layers if manifest else ())
    for signature in signatures:
        layer = _describe(signature)
        if layer not in layers:
            _push(remote, layer.parsed_digest(), signature.payload)
            layers.append(layer)
    config = encode(ImageConfig(RootFs("layers", tuple(layer.digest for layer in layers)), "", ""))
    config_descriptor = Descriptor(mediatype.OCI_CONFIG, str(Digest.of(config)), len(config))
    _push(remote, config_descriptor.parsed_digest(), config)
    fresh = Manifest(2, config_descriptor, tuple(layers), media_type=mediatype.OCI_MANIFEST)
    target = attachment_reference(remote.reference, digest)
    remote.client.push_manifest(target, encode(fresh), mediatype.OCI_MANIFEST, remote.credentials)


def _read_manifest(remote: Remote, digest: Digest, deadline_ns: int | None) -> Manifest | None:
    target = attachment_reference(remote.reference, digest)
    try:
        fetched = remote.client.resolve(target, remote.credentials, deadline_ns=deadline_ns)
    except NotFound:
        return None
    document = parse_manifest(fetched.raw, fetched.media_type, f"signatures {target}")
    return document if isinstance(document, Manifest) else None


def _read_signature(remote: Remote, layer: Descriptor, deadline_ns: int | None) -> SigstoreSignature:
    if layer.size > _PAYLOAD_SIZE_MAX:
        raise ResourceExhausted(f"{remote.name}: a signature's payload has {layer.size} bytes")
    with remote.client.open_blob(
        remote.reference,
        layer.parsed_digest(),
        layer.size,
        credentials=remote.credentials,
        deadline_ns=deadline_ns,
    ) as chunks:
        return SigstoreSignature(layer.media_type, b"".join(chunks), layer.annotations)


def _describe(signature: SigstoreSignature) -> Descriptor:
    digest = Digest.of(signature.payload)
    return Descriptor(
        signature.media_type,
        str(digest),
        len(signature.payload),
        annotations=dict(signature.annotations),
    )


def _push(remote: Remote, digest: Digest, content: bytes) -> None:
    remote.client.push_blob(remote.reference, digest, content, remote.credentials)
