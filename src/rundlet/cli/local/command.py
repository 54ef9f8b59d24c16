"""A command as podman's users know them.

--rm --rm=true --rm=false    a switch may have a value
rundlet: no such option --memry        one line and a hint for every wrong word
exit code 125                what went wrong was ours, not the container's
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from rundlet.cli.report import report
from rundlet.errors import Error, InvalidArgument, ProgramNotExecutable, ProgramNotFound
from rundlet.local.words.numbers import parse_switch

FAILED = 125
_CODES: dict[type[Error], int] = {ProgramNotExecutable: 126, ProgramNotFound: 127}


class LocalCommand(click.Command):
    """Errors and wrong usage end with `failed_code`."""

    failed_code = FAILED

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        plain, switches = _split_switches(self.get_params(ctx), args, mixed=ctx.allow_interspersed_args)
        with _reporting(ctx, self.failed_code):
            rest = super().parse_args(ctx, plain)
            for name, text in switches.items():
                ctx.params[name] = _read_switch(name, text)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        with _reporting(ctx, self.failed_code):
            return super().invoke(ctx)


@contextmanager
def _reporting(ctx: click.Context, code: int) -> Iterator[None]:
    try:
        yield
    except Error as error:
        report(error)
        raise click.exceptions.Exit(_CODES.get(type(error), code)) from error
    except click.UsageError as error:
        report(InvalidArgument(_describe(error), hint=_hint(error, ctx)))
        raise click.exceptions.Exit(code) from error


def _describe(error: click.UsageError) -> str:
    """click's sentence as ours: lower case, no full stop."""
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name}"
    text = error.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


def _hint(error: click.UsageError, ctx: click.Context) -> str:
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return f"did you mean {error.possibilities[0]}?"
    return f"see `{ctx.command_path} --help`"


def _read_switch(name: str, text: str) -> bool:
    try:
        return parse_switch(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"--{name.replace('_', '-')}: {error.message}") from error


def _split_switches(
    params: Sequence[click.Parameter], args: Sequence[str], *, mixed: bool
) -> tuple[list[str], dict[str, str]]:
    """The arguments without --switch=VALUE, and those values by the parameter's name.

    `mixed`: options may stand behind the first operand; else what follows it is somebody else's.
    """
    options = {word: param for param in params if isinstance(param, click.Option) for word in param.opts}
    plain: list[str] = []
    switches: dict[str, str] = {}
    at = 0
    while at < len(args):
        word = args[at]
        if word == "--" or (not mixed and not _is_option(word)):
            return plain + list(args[at:]), switches
        name, equals, value = word.partition("=")
        option = options.get(name)
        if option is not None and option.is_flag and option.name and equals and word.startswith("--"):
            switches[option.name] = value
        else:
            taken = 1 + _takes_next(word, options)
            plain += args[at : at + taken]
            at += taken - 1
        at += 1
    return plain, switches


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _takes_next(word: str, options: dict[str, click.Option]) -> bool:
    """Whether the word after an option is its value."""
    if word.startswith("--"):
        option = options.get(word)
        return option is not None and not option.is_flag and not option.count
    if not _is_option(word):
        return False
    for position, letter in enumerate(word[1:], 2):
        option = options.get(f"-{letter}")
        if option is None:
            return False
        if not option.is_flag and not option.count:
            return position == len(word)
    return False


def local_command(**settings: Any) -> Callable[[Callable[..., Any]], LocalCommand]:
    """`click.command` for one of podman's verbs."""
    return click.command(cls=LocalCommand, **settings)


def passing_on(metavar: str) -> Callable[[Any], Any]:
    """The operands of a verb whose words after the first one are somebody else's command line."""
    return click.argument("words", nargs=-1, required=True, metavar=metavar, type=click.UNPROCESSED)


def exit_with(code: int) -> None:
    """End the program with `code` when it is not 0."""
    sys.stdout.flush()
    if code:
        raise click.exceptions.Exit(code)
