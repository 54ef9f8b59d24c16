"""How a walk looks on the screen: steps as they happen, a table of times at the end."""

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import click

from rundlet.cli.walk_check import Leftover


class Timing(NamedTuple):
    number: int
    title: str
    elapsed_ms: float


def say(text: str = "", **style: bool | str) -> None:
    """One line; colours only where a terminal shows them."""
    click.echo(click.style(text, **style) if style and sys.stdout.isatty() else text)  # type: ignore[arg-type]


def show_start(number: int, title: str, command: str) -> None:
    say(f"{number:>2}  {title}", bold=True)
    if command:
        say(f"    $ {command}", fg="cyan")


def show_result(lines: Iterable[str], elapsed_ms: float) -> None:
    for line in lines:
        say(f"    {line}")
    say(f"    {elapsed_ms:.1f} ms", fg="green")
    say()


def show_times(timings: Sequence[Timing]) -> None:
    width = max((len(timing.title) for timing in timings), default=0)
    say(f"{'':2}  {'step':<{width}}  {'ms':>9}", bold=True)
    for timing in timings:
        say(f"{timing.number:>2}  {timing.title:<{width}}  {timing.elapsed_ms:>9.1f}")
    say(f"{'':2}  {'in all':<{width}}  {sum(timing.elapsed_ms for timing in timings):>9.1f}")
    say()


def show_leftovers(left: Sequence[Leftover], kinds: Sequence[str]) -> None:
    """One line a kind: what was looked at, and what was found."""
    say("left behind:", bold=True)
    for kind in kinds:
        names = [item.name for item in left if item.kind == kind]
        say(f"    {kind:<11} {'none' if not names else '; '.join(names)}", fg="red" if names else "green")
    say()
