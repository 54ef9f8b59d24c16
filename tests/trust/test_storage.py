"""Signatures where registries.d says they are: files, a Web server, the registry itself."""

import functools
import http.server
import os
import threading

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.registry.access import Registries
from rundlet.registry.client import RegistrySettings
from rundlet.registry.places import find_places
from rundlet.registry.repository import list_referrers
from rundlet.registry.server import RegistryServer
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.json import encode
from rundlet.spec.manifest import Manifest
from rundlet.spec.mediatype import OCI_EMPTY, OCI_MANIFEST
from rundlet.spec.reference import parse_reference
from rundlet.trust.bundle import BUNDLE_MEDIA_TYPE
from rundlet.trust.signature import (
    COSIGN_MEDIA_TYPE,
    SIGNATURE_ANNOTATION,
    SigstoreSignature,
    SimpleSignature,
    decode_signature,
    encode_signature,
)
from rundlet.trust.storage import SignatureStorage
from tests.registry.debian import debian_registries

DIGEST = Digest.of(b"manifest")
SIMPLE = [bytes([0x90, number]) for number in range(3)]


def sigstore(number):
    return encode_signature(
        SigstoreSignature(COSIGN_MEDIA_TYPE, b"payload %d" % number, {SIGNATURE_ANNOTATION: f"s{number}"})
    )


@pytest.fixture
def server(tmp_path):
    server = RegistryServer(str(tmp_path / "registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def place(tmp_path, server):
    """Makes a storage by the text of a registries.d file; gives it with the remote image."""
    usual = find_places({"HOME": str(tmp_path)}, uid=1000)
    usual = usual._replace(registries_conf=str(tmp_path / "none"), registries_conf_dirs=(), auth=())
    registries = Registries(RegistrySettings(), usual)
    (tmp_path / "registries.d").mkdir()

    def make(text):
        (tmp_path / "registries.d" / "a.yaml").write_text(text)
        remote = registries.home(parse_reference(f"{server.address}/team/app:v1"))
        return SignatureStorage(registries, str(tmp_path / "registries.d")), remote

    yield make
    registries.close()


def test_files_have_the_layout_that_others_read(place, tmp_path):
    storage, remote = place(f"default-docker: {{lookaside: 'file://{tmp_path}/s'}}")
    storage.add(remote, DIGEST, SIMPLE[:2])
    storage.add(remote, DIGEST, SIMPLE)
    directory = tmp_path / "s/team" / f"app@sha256={DIGEST.hex}"
    assert sorted(os.listdir(directory)) == ["signature-1", "signature-2", "signature-3"]
    assert (directory / "signature-2").read_bytes() == SIMPLE[1]
    assert storage.read(remote, DIGEST) == tuple(SIMPLE)
    assert storage.read(remote, Digest.of(b"other")) == ()


def test_without_a_word_the_user_s_directory_is_used(place, tmp_path):
    storage, remote = place("docker: {}")
    storage.add(remote, DIGEST, SIMPLE[:1])
    assert (tmp_path / ".local/share/containers/sigstore/team").is_dir()
    assert storage.read(remote, DIGEST) == (SIMPLE[0],)


def test_a_staging_directory_is_written_and_a_web_server_read(place, tmp_path):
    (tmp_path / "staging").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "staging"))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        try:
            base = f"http://127.0.0.1:{web.server_address[1]}"
            storage, remote = place(
                f"default-docker: {{lookaside: '{base}/', lookaside-staging: 'file://{tmp_path}/staging'}}"
            )
            storage.add(remote, DIGEST, SIMPLE)
            assert storage.read(remote, DIGEST) == tuple(SIMPLE)
        finally:
            web.shutdown()
            thread.join()


def test_a_web_server_cannot_be_written(place):
    storage, remote = place("default-docker: {lookaside: 'https://signatures.example'}")
    with pytest.raises(FailedPrecondition, match="cannot write signatures to https://signatures.example"):
        storage.add(remote, DIGEST, SIMPLE)
    storage, remote = place("default-docker: {lookaside: 'ftp://signatures.example'}")
    with pytest.raises(InvalidArgument, match="expected a file, http or https URL"):
        storage.read(remote, DIGEST)


def test_attachments_in_the_registry(place):
    storage, remote = place("default-docker: {use-sigstore-attachments: true}")
    assert storage.read(remote, DIGEST) == ()
    storage.add(remote, DIGEST, [sigstore(1)])
    storage.add(remote, DIGEST, [sigstore(2), sigstore(1)])
    assert storage.read(remote, DIGEST) == (sigstore(1), sigstore(2))
    assert remote.client.list_tags(remote.reference) == [f"sha256-{DIGEST.hex}.sig"]


def bundle(number):
    return encode_signature(SigstoreSignature(BUNDLE_MEDIA_TYPE, b'{"number": %d}' % number, {}))


def push_signed(remote):
    """A manifest to sign; its digest."""
    config = b"{}"
    remote.client.push_blob(remote.reference, Digest.of(config), config)
    described = Descriptor("application/vnd.oci.image.config.v1+json", str(Digest.of(config)), 2)
    raw = encode(Manifest(2, described, (), media_type=OCI_MANIFEST))
    return remote.client.push_manifest(remote.reference, raw, OCI_MANIFEST)


def push_referrer(remote, digest, artifact_type, layer, content, annotations):
    remote.client.push_blob(remote.reference, Digest.of(content), content)
    remote.client.push_blob(remote.reference, Digest.of(b"{}"), b"{}")
    manifest = Manifest(
        2,
        Descriptor(OCI_EMPTY, str(Digest.of(b"{}")), 2),
        (layer,),
        media_type=OCI_MANIFEST,
        artifact_type=artifact_type,
        subject=Descriptor(OCI_MANIFEST, str(digest), 5),
        annotations=annotations,
    )
    raw = encode(manifest)
    remote.client.push_manifest(remote.reference.with_digest(Digest.of(raw)), raw, OCI_MANIFEST)


def test_bundles_are_referrers_of_the_image(place):
    storage, remote = place("default-docker: {use-sigstore-attachments: true}")
    digest = push_signed(remote)
    storage.add(remote, digest, [bundle(1), sigstore(1)])
    storage.add(remote, digest, [bundle(2), bundle(1)])
    assert sorted(storage.read(remote, digest)) == sorted([sigstore(1), bundle(1), bundle(2)])
    listed = list_referrers(remote, digest)
    assert [one.artifact_type for one in listed] == [BUNDLE_MEDIA_TYPE] * 2
    assert listed[0].annotations["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1"
    off, remote = place("docker: {}")
    assert off.read(remote, digest) == ()


def test_attestations_are_no_signatures(place):
    storage, remote = place("default-docker: {use-sigstore-attachments: true}")
    digest, content = push_signed(remote), b'{"provenance": 1}'
    layer = Descriptor(BUNDLE_MEDIA_TYPE, str(Digest.of(content)), len(content))
    notes = {"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}
    push_referrer(remote, digest, BUNDLE_MEDIA_TYPE, layer, content, notes)
    assert storage.read(remote, digest) == ()


def test_signatures_that_cosign_2_made_as_referrers(place):
    storage, remote = place("default-docker: {use-sigstore-attachments: true}")
    digest, content = push_signed(remote), b"payload 7"
    layer = Descriptor(
        COSIGN_MEDIA_TYPE, str(Digest.of(content)), len(content), annotations={SIGNATURE_ANNOTATION: "s7"}
    )
    push_referrer(remote, digest, "application/vnd.dev.cosign.artifact.sig.v1+json", layer, content, {})
    assert storage.read(remote, digest) == (sigstore(7),)


def test_bundles_in_a_registry_without_the_referrers_api(place, tmp_path):
    """Debian's docker-registry lists them under a tag."""
    storage, remote = place("default-docker: {use-sigstore-attachments: true}")
    with debian_registries(tmp_path) as start:
        remote = remote._replace(reference=parse_reference(f"{start()}/team/app:v1"))
        digest = push_signed(remote)
        storage.add(remote, digest, [bundle(1)])
        storage.add(remote, digest, [bundle(2)])
        assert set(storage.read(remote, digest)) == {bundle(1), bundle(2)}
        assert f"sha256-{digest.hex}" in remote.client.list_tags(remote.reference)


def test_attachments_are_off_unless_switched_on(place):
    storage, remote = place("docker: {}")
    with pytest.raises(FailedPrecondition, match="switched off") as caught:
        storage.add(remote, DIGEST, [sigstore(1)])
    assert "use-sigstore-attachments" in caught.value.hint
    on, remote = place("default-docker: {use-sigstore-attachments: true}")
    on.add(remote, DIGEST, [sigstore(1)])
    off, remote = place("docker: {}")
    assert off.read(remote, DIGEST) == ()


def test_a_server_that_fails_is_not_a_server_without_signatures(place, server):
    storage, remote = place("default-docker: {use-sigstore-attachments: true}")
    target = remote.reference.with_tag(f"sha256-{DIGEST.hex}.sig")
    broken = b'{"schemaVersion": 2, "config": 5}'
    remote.client.push_manifest(target, broken, "application/vnd.oci.image.manifest.v1+json")
    with pytest.raises(InvalidArgument):
        storage.read(remote, DIGEST)
    with pytest.raises(NotFound):
        remote.client.resolve(remote.reference)


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"\0", b"\0sigstore-json", b"\0other\n{}", b"\0sigstore-json\n[]"]
)
def test_signatures_of_unknown_form(raw):
    with pytest.raises(InvalidArgument):
        decode_signature(raw)


def test_both_forms_come_back():
    assert decode_signature(SIMPLE[0]) == SimpleSignature(SIMPLE[0])
    assert decode_signature(b"\0simple-signing\nx") == SimpleSignature(b"x")
    assert encode_signature(decode_signature(sigstore(1))) == sigstore(1)
