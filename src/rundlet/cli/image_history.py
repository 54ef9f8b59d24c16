import json

import click

from rundlet.cli.image_options import chosen_platform, image_command, open_host
from rundlet.cli.table import format_table, human_age
from rundlet.errors import InvalidArgument
from rundlet.image.inspection import inspect_source
from rundlet.image.name import locate_image
from rundlet.image.place import open_source
from rundlet.spec.image import History
from rundlet.store.timestamp import parse_timestamp_ns

_WIDTH = 45


@image_command("rundlet image history app:1", "rundlet image history --no-trunc docker://quay.io/a/b:1")
@click.argument("image", metavar="IMAGE")
@click.option("--no-trunc", is_flag=True, help="Show commands as a whole.")
@click.option("--format", "template", default="", metavar="TEMPLATE", help="json, or a Go template per line.")
def command(image: str, no_trunc: bool, template: str) -> None:
    """Show what an image was made by, the last step first."""
    source = open_source(open_host(), locate_image(image))
    click.get_current_context().call_on_close(source.close)
    found = inspect_source(source, chosen_platform(), with_tags=False)
    if found.config is None:
        raise InvalidArgument(f"{source.name}: an artifact has no history")
    steps = list(reversed(found.config.history))
    if template == "json":
        print(json.dumps([_describe(step) for step in steps], indent=4, ensure_ascii=False))
    elif template:
        from rundlet.cli.gotemplate import render_template

        for step in steps:
            print(render_template(template, _describe(step)))
    else:
        rows = [["CREATED", "CREATED BY", "COMMENT"], *(_row(step, full=no_trunc) for step in steps)]
        print(format_table(rows), end="")


def _describe(step: History) -> dict[str, object]:
    return {
        "created": step.created,
        "CreatedBy": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "emptyLayer": step.empty_layer,
    }


def _row(step: History, *, full: bool) -> list[str]:
    text = " ".join(step.created_by.split())
    shown = text if full or len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
    created_at_ns = parse_timestamp_ns(step.created)
    return [human_age(created_at_ns) if created_at_ns else "N/A", shown, step.comment]
