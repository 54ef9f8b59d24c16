"""Questions to who sits at the terminal."""

import os
import sys
from collections.abc import Sequence

import click

from rundlet.errors import InvalidArgument


def ask(question: str, *, instead: str, hidden: bool = False, twice: bool = False) -> str:
    """The answer; a hidden one is not shown while it is typed, and asked for `twice` to be sure.

    Raises InvalidArgument, with `instead` as its hint, where nobody can be asked.
    """
    if not (sys.stdin.isatty() or (hidden and _has_terminal())):
        raise InvalidArgument(
            f"{question.lower()}: not given, and there is no terminal to ask for it", hint=instead
        )
    answer: str = click.prompt(question, hide_input=hidden, confirmation_prompt=twice, err=True)
    return answer


def choose(question: str, choices: Sequence[str]) -> int:
    """Which of `choices` is meant, by its number; -1 where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return -1
    click.echo(question, err=True)
    for number, choice in enumerate(choices, 1):
        click.echo(f"  {number}  {choice}", err=True)
    answer: int = click.prompt("Number", type=click.IntRange(1, len(choices)), err=True)
    return answer - 1


def _has_terminal() -> bool:
    """Whether getpass(3) finds a terminal beside stdin."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
