import click
from click.shell_completion import get_completion_class

from rundlet.cli.help import examples

COMPLETE_VARIABLE = "_RUNDLET_COMPLETE"


@click.command(
    epilog=examples(
        "source <(rundlet completion bash)",
        "source <(rundlet completion zsh)",
        "rundlet completion fish | source",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion code."""
    kind = get_completion_class(shell)
    root = ctx.find_root().command
    if kind is not None:
        print(kind(root, {}, "rundlet", COMPLETE_VARIABLE).source())
