"""The commands' reference: what click knows of `rundlet`, a page for each command of the top and each group."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import click

from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.main import cli


class CommandPage(NamedTuple):
    """`words` are how it is called, below `rundlet`; a group's page has its commands, too."""

    words: str
    command: click.Command

    @property
    def title(self) -> str:
        return self.words or "rundlet"

    @property
    def path(self) -> str:
        return f"commands/{self.words.replace(' ', '-') or 'index'}.md"

    def render(self) -> str:
        return "\n".join(_describe(f"rundlet {self.words}".strip(), self.command, None, 1))


@cache
def list_pages() -> tuple[CommandPage, ...]:
    """`rundlet` itself, then its commands in the order of its help."""
    context = click.Context(cli, info_name="rundlet")
    return (
        CommandPage("", cli),
        *(CommandPage(name, command) for name, command in _commands(cli, context)),
    )


def walk_commands() -> Iterator[tuple[str, click.Command]]:
    """(words, command) of every command that is no group, aliases left out."""
    yield from _walk("rundlet", cli, click.Context(cli, info_name="rundlet"))


def _walk(words: str, command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    for name, inner in _commands(command, context):
        yield from _walk(f"{words} {name}", inner, click.Context(inner, context, info_name=name))


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield name, command


def _describe(words: str, command: click.Command, parent: click.Context | None, level: int) -> Iterator[str]:
    context = click.Context(command, parent, info_name=words if parent is None else words.rpartition(" ")[2])
    context.terminal_width = context.max_content_width = 110
    yield f"{'#' * level} {words}\n"
    yield f"```text\n{command.get_help(context).replace('`' * 3, '')}\n```\n"
    if isinstance(command, LazyGroup | click.Group) and words != "rundlet":
        for name, inner in _commands(command, context):
            yield from _describe(f"{words} {name}", inner, context, min(level + 1, 4))
