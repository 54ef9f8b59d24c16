"""What the groups `volume`, `network`, `secret`, `pod` and `kube` share."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from rundlet.cli.local.command import FAILED
from rundlet.cli.local.rows import print_json
from rundlet.cli.report import report
from rundlet.errors import Error, InvalidArgument
from rundlet.local.words.numbers import split_pair, suggest


def listing(keys: Sequence[str], *, quiet: str, shortened: bool = False) -> Callable[[Any], Any]:
    """The options of a list: `keys` are what it is filtered by, `quiet` what --quiet leaves of it (ids, names)."""
    options = [
        click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help=", ".join(keys)),
        click.option(
            "--format", "template", default="", metavar="FORMAT", help="json, table …, or a Go template."
        ),
        click.option("-n", "--noheading", is_flag=True, help="Without the headings."),
        click.option("-q", "--quiet", is_flag=True, help=f"Only {quiet}."),
    ]
    if shortened:
        options.append(click.option("--no-trunc", is_flag=True, help="Do not shorten ids."))

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def format_labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def read_filters(texts: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """`--filter KEY=VALUE`; the values of one key are alternatives.  Raises InvalidArgument."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, value = split_pair(text, "KEY=VALUE")
        if key not in known:
            raise InvalidArgument(f"--filter {text}: unknown key {key!r}", hint=suggest(key, known))
        found.setdefault(key, []).append(value)
    return found


def matches_name(name: str, wanted: Sequence[str]) -> bool:
    try:
        return not wanted or any(re.search(pattern, name) for pattern in wanted)
    except re.error as error:
        raise InvalidArgument(f"--filter name: not a regular expression: {error}") from error


def matches_labels(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Each is KEY or KEY=VALUE, and all must hold."""
    pairs = (text.partition("=") for text in wanted)
    return all(key in labels and (not equals or labels[key] == value) for key, equals, value in pairs)


def inspect_each(names: Iterable[str], look: Callable[[str], dict[str, Any]], template: str) -> None:
    """The documents of those that are there; each other one is told, and the command ends with 125."""
    found, failed = [], False
    for name in names:
        try:
            found.append(look(name))
        except Error as error:
            report(error)
            failed = True
    print_documents(found, template)
    if failed:
        raise click.exceptions.Exit(FAILED)


def print_documents(documents: Sequence[dict[str, Any]], template: str) -> None:
    """As `inspect` of a noun prints them."""
    if template in ("", "json"):
        print_json(list(documents))
        return
    from rundlet.cli.gotemplate import render_template

    for document in documents:
        print(render_template(template, document))


def confirm(question: str) -> bool:
    """Ask a person; nobody to ask is an error.  Raises InvalidArgument."""
    if not sys.stdin.isatty():
        raise InvalidArgument("nobody is there to confirm this", hint="--force does it without a question")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
