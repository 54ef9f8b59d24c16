"""The options by which a verb's containers are chosen: --all --latest --cidfile --filter."""

from collections.abc import Callable
from typing import Any

import click

_NAMES = click.argument("names", nargs=-1, metavar="[CONTAINER]...")
_ALL = click.option("-a", "--all", "every", is_flag=True, help="All containers that this can be done with.")
_LONG_ALL = click.option("--all", "every", is_flag=True, help="All containers that this can be done with.")
_LATEST = click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
_FILES = click.option(
    "--cidfile", "files", multiple=True, metavar="FILE", help="The one whose id is in FILE."
)
_FILTERS = click.option(
    "-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Those that match."
)
_LONG_FILTERS = click.option(
    "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Those that match."
)


def selecting(*, short_filter: bool = True, short_all: bool = True) -> Callable[[Any], Any]:
    """Gives `names every latest files filters`, which `context.choose` takes; some verbs use -f or -a otherwise."""

    def decorate(command: Any) -> Any:
        for option in (
            _FILTERS if short_filter else _LONG_FILTERS,
            _FILES,
            _LATEST,
            _ALL if short_all else _LONG_ALL,
            _NAMES,
        ):
            command = option(command)
        return command

    return decorate
