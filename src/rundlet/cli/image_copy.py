from typing import Any

import click

from rundlet.cli.image_copying import (
    Job,
    copying_options,
    make_signer,
    read_options,
    read_packing,
    run_job,
)
from rundlet.cli.image_options import (
    access_options,
    image_command,
    locate,
    open_host,
    read_access,
    split_list,
)
from rundlet.errors import InvalidArgument
from rundlet.image.plan import CopyOptions


@image_command(
    "rundlet image copy docker://quay.io/a/b:1 oci:/srv/b:1",
    "rundlet image copy --all docker://quay.io/a/b:1 docker://registry.example/b:1",
    "rundlet image copy --platform linux/amd64,linux/arm64 docker://quay.io/a/b dir:/srv/b",
    "rundlet image copy --dest-compress-format zstd oci:/srv/b:1 docker://registry.example/b:1",
    "rundlet image copy docker://quay.io/a/b:1 docker-archive:- | docker load",
)
@click.argument("source", metavar="SOURCE-IMAGE")
@click.argument("destination", metavar="DESTINATION-IMAGE")
@copying_options
@click.option("--additional-tag", "tags", multiple=True, metavar="TAG", help="A further name for the image.")
@click.option("--dest-compress", is_flag=True, help="Compress layers.")
@click.option("--dest-decompress", is_flag=True, help="Decompress layers.")
@click.option("--dest-compress-format", default="", metavar="FORMAT", help="gzip, zstd or zstd:chunked.")
@click.option("--dest-compress-level", type=int, default=0, metavar="LEVEL", help="Level of the format.")
@click.option("--dest-oci-accept-uncompressed-layers", is_flag=True, help="Leave plain layers plain.")
@click.option("--dest-precompute-digests", is_flag=True, hidden=True, help="What is there is always found.")
@click.option("--dest-force-compress-format", is_flag=True, hidden=True, help="The format is always that.")
@click.option(
    "--encryption-key", "encryption_keys", multiple=True, metavar="jwe:FILE", help="Encrypt for it."
)
@click.option("--encrypt-layer", "encrypt_layers", multiple=True, metavar="N", help="Encrypt layer N only.")
@click.option(
    "--decryption-key", "decryption_keys", multiple=True, metavar="FILE[:PASSWORD]", help="Decrypt."
)
@click.option("--authfile", default="", metavar="FILE", help="auth.json of both sides.")
@access_options("src")
@access_options("dest")
def command(source: str, destination: str, **given: Any) -> None:
    """Copy an image from one place to another.

    Of an index the image for this platform is copied, unless --all or --platform says more.
    What is at the destination already is not moved.
    """
    host = open_host()
    target = locate(destination)
    auth_file = given.pop("authfile")
    options = _add_keys(read_options(given), given)
    packing = read_packing(
        given.pop("dest_compress"),
        given.pop("dest_decompress"),
        given.pop("dest_compress_format"),
        given.pop("dest_compress_level"),
    )
    job = Job(
        locate(source),
        target,
        options._replace(packing=packing),
        read_access(given, "src", common_auth_file=auth_file),
        read_access(given, "dest", common_auth_file=auth_file),
        split_list(given.pop("tags")),
        given.pop("dest_oci_accept_uncompressed_layers"),
        given.pop("retry_times"),
        given.pop("retry_delay"),
        make_signer(given, target),
        given.pop("quiet") or target.streamed,
        given.pop("progress"),
        given.pop("dry_run"),
    )
    run_job(host, job, given.pop("digestfile"))


def _add_keys(options: CopyOptions, given: dict[str, Any]) -> CopyOptions:
    recipients, keys = given.pop("encryption_keys"), given.pop("decryption_keys")
    layers = split_list(given.pop("encrypt_layers"))
    if not (recipients or keys or layers):
        return options
    from rundlet.image.encryption import load_private, load_recipient

    try:
        positions = tuple(map(int, layers))
    except ValueError as error:
        raise InvalidArgument(f"--encrypt-layer {','.join(layers)}: expected numbers") from error
    if positions and not recipients:
        raise InvalidArgument("--encrypt-layer needs --encryption-key")
    return options._replace(
        recipients=tuple(map(load_recipient, split_list(recipients))),
        keys=tuple(map(load_private, split_list(keys))),
        encrypt_layers=positions,
    )
