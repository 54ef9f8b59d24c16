import json

import click

from rundlet.cli.image_options import image_command, open_host
from rundlet.image.differences import compare_stacks
from rundlet.image.storage import find_image


@image_command("rundlet image diff app:2 app:1", "rundlet image diff app:1")
@click.argument("image", metavar="IMAGE")
@click.argument("other", metavar="[OTHER]", default="")
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", help="Format.")
def command(image: str, other: str, output: str) -> None:
    """Show the files that IMAGE added (A), changed (C) and deleted (D).

    Beside OTHER, or without it beside what is below IMAGE's top layer.
    """
    store = open_host().store
    layers = find_image(store, image).layers
    below = find_image(store, other).layers if other else layers[:-1]
    changes = list(compare_stacks(store.layers.stack(below), store.layers.stack(layers)))
    if output == "json":
        names = {"A": "added", "C": "changed", "D": "deleted"}
        found = {word: [each.path for each in changes if each.kind == kind] for kind, word in names.items()}
        print(json.dumps({word: paths for word, paths in found.items() if paths}, indent=4))
    else:
        print("".join(f"{change.kind} {change.path}\n" for change in changes), end="")
