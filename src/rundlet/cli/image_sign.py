"""Signatures of files, apart from any image."""

import os
from typing import Any

import click

from rundlet.cli.ask import ask
from rundlet.cli.image_options import image_command
from rundlet.errors import InvalidArgument
from rundlet.image.documents import digest_manifest
from rundlet.image.files import read_document, write_document


def _read_passphrase(path: str) -> str | None:
    return read_document(path, "passphrase file").decode().rstrip("\n") if path else None


@image_command(
    "rundlet image standalone-sign manifest.json registry.example/a:1 KEY-FINGERPRINT -o signature"
)
@click.argument("manifest", metavar="MANIFEST")
@click.argument("reference", metavar="DOCKER-REFERENCE")
@click.argument("key", metavar="KEY-FINGERPRINT")
@click.option("-o", "--output", required=True, metavar="FILE", help="Write the signature there.")
@click.option("--passphrase-file", default="", metavar="FILE", help="The key's passphrase.")
def standalone_sign(manifest: str, reference: str, key: str, output: str, passphrase_file: str) -> None:
    """Sign a manifest file by a GPG key."""
    from rundlet.spec.reference import parse_reference
    from rundlet.trust.signing import sign_simple

    digest = digest_manifest(read_document(manifest, f"manifest {manifest}"), manifest)
    signature = sign_simple(digest, parse_reference(reference), key, _read_passphrase(passphrase_file))
    write_document(os.path.abspath(output), signature)


@image_command(
    "rundlet image standalone-verify manifest.json registry.example/a:1 KEY-FINGERPRINT signature",
    "rundlet image standalone-verify --public-key-file key.pub manifest.json registry.example/a:1 any signature",
)
@click.argument("manifest", metavar="MANIFEST")
@click.argument("reference", metavar="DOCKER-REFERENCE")
@click.argument("fingerprints", metavar="KEY-FINGERPRINTS|any")
@click.argument("signature", metavar="SIGNATURE")
@click.option("--public-key-file", default="", metavar="FILE", help="The keys; else those of the GPG ring.")
def standalone_verify(
    manifest: str, reference: str, fingerprints: str, signature: str, public_key_file: str
) -> None:
    """Verify a signature of a manifest file."""
    from rundlet.trust.standalone import verify_standalone

    keys = [read_document(public_key_file, f"key {public_key_file}")] if public_key_file else []
    verified = verify_standalone(
        read_document(manifest, f"manifest {manifest}"),
        reference,
        fingerprints.split(","),
        read_document(signature, f"signature {signature}"),
        keys,
    )
    print(f"Signature verified using fingerprint {verified.fingerprint}, digest {verified.digest}")


@image_command("rundlet image generate-sigstore-key --output-prefix ./key")
@click.option("--output-prefix", required=True, metavar="PREFIX", help="Write PREFIX.private and PREFIX.pub.")
@click.option("--passphrase-file", default="", metavar="FILE", help="Read the passphrase from there.")
def generate_key(output_prefix: str, passphrase_file: str, **_given: Any) -> None:
    """Make a pair of sigstore keys: the private one is sealed by a passphrase."""
    from rundlet.trust.signing import generate_sigstore_key

    passphrase = _read_passphrase(passphrase_file)
    if passphrase is None:
        passphrase = ask(
            "Passphrase for the private key",
            hidden=True,
            twice=True,
            instead="put it in a file and name that with --passphrase-file",
        )
    if not passphrase:
        raise InvalidArgument("the passphrase is empty")
    private, public = generate_sigstore_key(output_prefix, passphrase)
    print(f'Key written to "{private}" and "{public}"')
