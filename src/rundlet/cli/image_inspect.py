import sys
from typing import Any

import click

from rundlet.cli.image_options import access_options, chosen_platform, image_command, open_host, read_access
from rundlet.image.inspection import Inspection, format_inspection, inspect_source
from rundlet.image.name import locate_image
from rundlet.image.place import open_source
from rundlet.image.retry import retrying


@image_command(
    "rundlet image inspect docker://quay.io/a/b:1",
    "rundlet image inspect --config docker://quay.io/a/b:1",
    "rundlet image inspect --format '{{.Name}} {{.Digest}}' docker://quay.io/a/b:1",
    "rundlet image inspect --raw oci:/srv/b:1",
    "rundlet image inspect redis:alpine",
)
@click.argument("image", metavar="IMAGE-NAME")
@click.option(
    "--raw", is_flag=True, help="The manifest, or with --config the configuration, as it is stored."
)
@click.option("--config", is_flag=True, help="The configuration.")
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="A Go template.")
@click.option("-n", "--no-tags", is_flag=True, help="Do not list the repository's tags.")
@click.option("--manifest-digest", is_flag=True, help="Only the manifest's digest.")
@click.option("--retry-times", type=click.IntRange(min=0), default=0, help="Further attempts.")
@access_options()
def command(image: str, template: str, retry_times: int, **given: Any) -> None:
    """Show what an image says of itself.

    IMAGE-NAME is TRANSPORT:DETAILS, or the name or id of an image in the store.  Of an index
    the image for this platform is shown; --raw shows the index.
    """
    raw, config, no_tags = given.pop("raw"), given.pop("config"), given.pop("no_tags")
    digest_only = given.pop("manifest_digest")
    access = read_access(given)
    source = open_source(open_host(), locate_image(image), access)
    click.get_current_context().call_on_close(source.close)
    if raw and not config:
        sys.stdout.buffer.write(retrying(source.read_manifest, retry_times).raw)
        return
    with_tags, platform = not (no_tags or config or digest_only), chosen_platform()
    found = retrying(lambda: inspect_source(source, platform, with_tags=with_tags), retry_times)
    if digest_only:
        print(found.digest)
    elif raw:
        sys.stdout.buffer.write(found.raw_config)
    else:
        _show(_describe_config(found) if config else format_inspection(found), template)


def _describe_config(found: Inspection) -> Any:
    import json

    return json.loads(found.raw_config)


def _show(value: Any, template: str) -> None:
    if template:
        from rundlet.cli.gotemplate import render_template

        text = render_template(template, value)
        print(text, end="" if text.endswith("\n") else "\n")
        return
    import json

    if not value.get("Name", "x"):
        del value["Name"]  # what has no name does not say so
    print(json.dumps(value, indent=4, ensure_ascii=False))
