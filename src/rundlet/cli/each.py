"""One action on several objects: all are tried at once, lines come out in order, failures are told apart."""

import sys
from collections.abc import Callable, Sequence

import click

from rundlet.errors import Error

PARALLEL = 16


def _attempt(action: Callable[[str], str], id: str) -> str | Error:
    try:
        return action(id)
    except Error as error:
        return error


def run_each(ids: Sequence[str], action: Callable[[str], str]) -> None:
    """Prints each action's line.

    A single failure is raised as it is; with several objects each failure is
    one line on stderr and the command ends with 1.
    """
    if len(ids) == 1:
        print_line(action(ids[0]))
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(lambda name: _attempt(action, name), ids))
    for id, result in zip(ids, results, strict=True):
        if isinstance(result, Error):
            print(f"rundlet: {id}: {result.message}", file=sys.stderr)
        else:
            print_line(result)
    if any(isinstance(result, Error) for result in results):
        raise click.exceptions.Exit(1)


def print_line(text: str) -> None:
    if text:
        print(text)


def require_ids(ids: Sequence[str], what: str) -> None:
    """A usage error, exit code 2, when nothing is named."""
    if not ids:
        raise click.UsageError(f"name at least one {what}", click.get_current_context())
