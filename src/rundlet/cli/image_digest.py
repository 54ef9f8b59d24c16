import click

from rundlet.cli.image_options import image_command
from rundlet.image.documents import digest_manifest
from rundlet.image.files import read_document


@image_command("rundlet image manifest-digest manifest.json")
@click.argument("path", metavar="MANIFEST-FILE")
def command(path: str) -> None:
    """Compute the digest of a manifest file; of a signed schema 1 manifest, of what is signed."""
    print(digest_manifest(read_document(path, f"manifest {path}"), path))
