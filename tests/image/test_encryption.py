"""Encrypted layers: written and read here, and beside Debian's skopeo."""

import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from rundlet.errors import DataLoss, FailedPrecondition, InvalidArgument, PermissionDenied, Unimplemented
from rundlet.image import jwe
from rundlet.image.api import CopyOptions, copy_image, inspect_image
from rundlet.image.encryption import load_private, load_recipient
from tests.image.images import read_manifest


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """name → (recipient option, decryption option)."""
    directory = tmp_path_factory.mktemp("keys")
    made = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()),
    }
    found = {}
    for name, key in made.items():
        private, public = directory / f"{name}.pem", directory / f"{name}.pub"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        found[name] = (f"jwe:{public}", str(private))
    sealed = directory / "sealed.pem"
    sealed.write_bytes(
        made["rsa"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    found["sealed"] = ("", str(sealed))
    return found


@pytest.fixture
def image(layout):
    return layout.publish(layout.image(({"a": b"1" * 3000}, {"b": b"2" * 3000})), "image")


def encrypting(keys, *names, layers=()):
    return CopyOptions(
        recipients=tuple(load_recipient(keys[name][0]) for name in names), encrypt_layers=layers
    )


def decrypting(*paths):
    return CopyOptions(keys=tuple(map(load_private, paths)))


@pytest.mark.parametrize("names", [("rsa",), ("p256",), ("p521",), ("rsa", "p256")])
def test_what_is_encrypted_is_decrypted(host, image, keys, tmp_path, names):
    secret = f"oci:{tmp_path}/secret:1"
    copy_image(host, image, secret, encrypting(keys, *names))
    for layer in read_manifest(host, secret)["layers"]:
        assert layer["mediaType"].endswith("+encrypted")
    for name in names:
        plain = f"dir:{tmp_path}/{name}"
        copy_image(host, secret, plain, decrypting(keys[name][1]))
        assert read_manifest(host, plain)["layers"] == read_manifest(host, image)["layers"]


@pytest.mark.parametrize(("layers", "expected"), [((0,), [True, False]), ((-1,), [False, True])])
def test_single_layers_are_encrypted(host, image, keys, tmp_path, layers, expected):
    copy_image(host, image, f"dir:{tmp_path}/out", encrypting(keys, "rsa", layers=layers))
    types = [each["mediaType"] for each in read_manifest(host, f"dir:{tmp_path}/out")["layers"]]
    assert [each.endswith("+encrypted") for each in types] == expected


def test_a_layer_that_is_not_there_cannot_be_encrypted(host, image, keys, tmp_path):
    with pytest.raises(InvalidArgument, match="2 layers"):
        copy_image(host, image, f"dir:{tmp_path}/out", encrypting(keys, "rsa", layers=(2,)))


def test_a_key_with_a_password(host, image, keys, tmp_path):
    copy_image(host, image, f"dir:{tmp_path}/secret", encrypting(keys, "rsa"))
    for word in ("secret", "pass=secret"):
        copy_image(
            host, f"dir:{tmp_path}/secret", f"dir:{tmp_path}/out", decrypting(f"{keys['sealed'][1]}:{word}")
        )
    with pytest.raises(InvalidArgument, match="password"):
        load_private(f"{keys['sealed'][1]}:wrong")


def test_without_a_key_it_stays_what_it_is(host, image, keys, tmp_path):
    secret = f"dir:{tmp_path}/secret"
    copy_image(host, image, secret, encrypting(keys, "rsa"))
    copy_image(host, secret, f"oci:{tmp_path}/same")
    assert read_manifest(host, f"oci:{tmp_path}/same") == read_manifest(host, secret)
    with pytest.raises(FailedPrecondition, match="encrypted"):
        copy_image(host, secret, f"docker-archive:{tmp_path}/a.tar")


def test_the_store_refuses_what_it_cannot_unpack(host, image, keys, tmp_path):
    secret = f"dir:{tmp_path}/secret"
    copy_image(host, image, secret, encrypting(keys, "rsa"))
    with pytest.raises(FailedPrecondition, match="encrypted"):
        copy_image(host, secret, "containers-storage:localhost/secret:1")
    copy_image(host, secret, "containers-storage:localhost/secret:1", decrypting(keys["rsa"][1]))


def test_another_key_does_not_open_it(host, image, keys, tmp_path):
    copy_image(host, image, f"dir:{tmp_path}/secret", encrypting(keys, "rsa"))
    with pytest.raises(PermissionDenied, match="none of the decryption keys"):
        copy_image(host, f"dir:{tmp_path}/secret", f"dir:{tmp_path}/out", decrypting(keys["p256"][1]))


def test_changed_bytes_are_noticed(host, layout, image, keys, tmp_path):
    """Somebody who may write to the registry cannot change the layer, not even with a fitting digest."""
    copy_image(host, image, f"oci:{tmp_path}/secret:1", encrypting(keys, "rsa"))
    manifest = read_manifest(host, f"oci:{tmp_path}/secret:1")
    for layer in (manifest["config"], *manifest["layers"]):
        with open(f"{tmp_path}/secret/blobs/{layer['digest'].replace(':', '/')}", "rb") as file:
            data = file.read()
        if layer is not manifest["config"]:
            data = data[:-1] + bytes([data[-1] ^ 1])
        layer.update(layout.blob(layer["mediaType"], data))
    forged = layout.publish(layout.document(manifest), "forged")
    with pytest.raises(DataLoss):
        copy_image(host, forged, f"dir:{tmp_path}/out", decrypting(keys["rsa"][1]))


@pytest.mark.parametrize(
    ("text", "kind"),
    [("pgp:someone@example", Unimplemented), ("jwe:/nowhere", Exception), ("plain", Unimplemented)],
)
def test_other_kinds_of_keys_are_refused(text, kind):
    with pytest.raises(kind):
        load_recipient(text)


@pytest.mark.parametrize("raw", [b"{}", b'{"protected": "!", "ciphertext": "", "tag": "", "iv": ""}', b"x"])
def test_a_malformed_envelope_is_one_clear_error(raw, keys):
    with pytest.raises((InvalidArgument, PermissionDenied)):
        jwe.decrypt(raw, [load_private(keys["rsa"][1])], "layer")


# --- beside skopeo ------------------------------------------------------------------


def skopeo(*words):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo not on this host")
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.differential
@pytest.mark.parametrize("name", ["rsa", "p256"])
def test_skopeo_decrypts_ours(host, image, keys, tmp_path, name):
    copy_image(host, image, f"oci:{tmp_path}/secret:1", encrypting(keys, name))
    skopeo("copy", "--decryption-key", keys[name][1], f"oci:{tmp_path}/secret:1", f"oci:{tmp_path}/plain:1")
    before, after = read_manifest(host, image), read_manifest(host, f"oci:{tmp_path}/plain:1")
    assert [each["digest"] for each in after["layers"]] == [each["digest"] for each in before["layers"]]


@pytest.mark.differential
@pytest.mark.parametrize("name", ["rsa", "p256"])
def test_we_decrypt_skopeos(host, image, keys, tmp_path, name):
    skopeo("copy", "--encryption-key", keys[name][0], image, f"oci:{tmp_path}/secret:1")
    copy_image(host, f"oci:{tmp_path}/secret:1", f"oci:{tmp_path}/plain:1", decrypting(keys[name][1]))
    after = inspect_image(host, f"oci:{tmp_path}/plain:1")
    assert [each.digest for each in after.layers] == [
        each["digest"] for each in read_manifest(host, image)["layers"]
    ]
    assert json.loads(after.raw_config)["rootfs"]
