"""A group of commands whose modules are imported when they are used."""

import importlib
from collections.abc import Mapping

import click

# name → (module below rundlet.cli, one line of help); "module:function" unless that is `command`.
Table = Mapping[str, tuple[str, str]]


class LazyGroup(click.Group):
    """Reads `table` for help and completion, and nothing else."""

    table: Table = {}
    aliases: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in self.table:
            return None
        module, _, function = self.table[name][0].partition(":")
        found: click.Command = getattr(
            importlib.import_module(f"rundlet.cli.{module}"), function or "command"
        )
        found.name = name
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError naming the nearest command there is."""
        if args[0] not in self.table and args[0] not in self.aliases and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], [*self.table, *self.aliases], n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
