"""Making signatures: sealed keys, claims, files."""

import os
import stat

import pytest

from rundlet.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from rundlet.spec.base64 import encode_base64
from rundlet.spec.digest import Digest
from rundlet.spec.json import decode, encode
from rundlet.spec.reference import parse_reference
from rundlet.trust import sealedkey
from rundlet.trust.pem import decode_pem, encode_pem
from rundlet.trust.publickey import encode_public_key, parse_public_key, verifies
from rundlet.trust.sealedkey import generate_key_pair, open_private_key, seal, sign_bytes
from rundlet.trust.signature import SIGNATURE_ANNOTATION, decode_signature
from rundlet.trust.signing import generate_sigstore_key, sign_sigstore, sign_simple
from rundlet.trust.standalone import verify_standalone

RAW = b"manifest"
DIGEST = Digest.of(RAW)
NAME = parse_reference("quay.io/team/app:v1")


@pytest.fixture(scope="module")
def pair():
    return generate_key_pair("secret")


def test_a_sealed_key_opens_with_its_passphrase_only(pair):
    key = open_private_key(pair.private, "secret", "k")
    public = parse_public_key(pair.public, "k.pub")
    assert encode_public_key(key.public_key()) == pair.public
    assert verifies(public, sign_bytes(key, b"x"), b"x")
    assert not verifies(public, sign_bytes(key, b"x"), b"y")
    with pytest.raises(PermissionDenied, match="k: the passphrase is wrong"):
        open_private_key(pair.private, "other", "k")


def test_newer_files_have_another_label(pair):
    assert open_private_key(pair.private.replace(b"COSIGN", b"SIGSTORE"), "secret", "k")
    with pytest.raises(InvalidArgument, match="not a private key of cosign's format"):
        open_private_key(pair.public, "secret", "k")


def change(pair, *path_and_value):
    *path, value = path_and_value
    document = decode(decode_pem(pair.private, "k"), dict, "k")
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return encode_pem(encode(document), "ENCRYPTED COSIGN PRIVATE KEY")


@pytest.mark.parametrize(
    "path_and_value",
    [
        ("kdf", "name", "argon2"),
        ("cipher", "name", "aes"),
        ("kdf", "params", "N", 1 << 30),
        ("kdf", "params", "N", 1000),
        ("ciphertext", "?"),
        ("kdf", "salt", 5),
    ],
)
def test_a_malformed_file(pair, path_and_value):
    with pytest.raises(InvalidArgument, match=r"k: |sealed key"):
        open_private_key(change(pair, *path_and_value), "secret", "k")


def test_an_altered_file(pair):
    for path, value in [
        (("ciphertext",), "AAAA"),
        (("cipher", "nonce"), "AAAA"),
        (("kdf", "salt"), encode_base64(b"x")),
    ]:
        with pytest.raises(PermissionDenied):
            open_private_key(change(pair, *path, value), "secret", "k")
    with pytest.raises(InvalidArgument, match="no private key inside"):
        open_private_key(seal(b"not a key", "secret"), "secret", "k")


def test_a_key_is_written_once(tmp_path):
    private, public = generate_sigstore_key(str(tmp_path / "k"), "secret")
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o600
    assert open_private_key((tmp_path / "k.private").read_bytes(), "secret", "k")
    with pytest.raises(AlreadyExists, match=r"k\.private"):
        generate_sigstore_key(str(tmp_path / "k"), "secret")
    with pytest.raises(NotFound, match=r"write .*none/k\.private"):
        generate_sigstore_key(str(tmp_path / "none/k"), "secret")
    signature = decode_signature(sign_sigstore(DIGEST, NAME, private, "secret"))
    raw = sealedkey.decode_base64(signature.annotations[SIGNATURE_ANNOTATION], "signature")
    assert verifies(parse_public_key((tmp_path / "k.pub").read_bytes(), public), raw, signature.payload)


def test_a_whole_repository_is_not_signed(gpg, signer):
    with pytest.raises(InvalidArgument, match="neither a tag nor a digest"):
        sign_simple(DIGEST, parse_reference("quay.io/x", default_tag=""), signer, home=gpg.home)


def test_standalone(gpg, signer):
    signature = sign_simple(DIGEST, NAME, signer, home=gpg.home)
    keys = [gpg.export(signer)]
    for wanted in ([signer], [signer.lower()], ["any"], ["0" * 40, signer]):
        found = verify_standalone(RAW, "quay.io/team/app:v1", wanted, signature, keys)
        assert (found.fingerprint, found.digest) == (signer, DIGEST)
    for manifest, name, wanted in [
        (b"other", str(NAME), [signer]),
        (RAW, "quay.io/team/app:v2", [signer]),
        (RAW, str(NAME), ["0" * 40]),
        (RAW, str(NAME), []),
    ]:
        with pytest.raises(PermissionDenied):
            verify_standalone(manifest, name, wanted, signature, keys)


def test_standalone_with_the_user_s_ring_never_trusts_any_key(gpg, signer, monkeypatch):
    monkeypatch.setenv("GNUPGHOME", gpg.home)
    signature = sign_simple(DIGEST, NAME, signer)
    assert verify_standalone(RAW, str(NAME), [signer], signature).fingerprint == signer
    with pytest.raises(PermissionDenied, match="not by a key that was asked for"):
        verify_standalone(RAW, str(NAME), ["any"], signature)
