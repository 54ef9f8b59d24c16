from typing import TYPE_CHECKING, Any

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import choose, each, pass_machine
from rundlet.cli.local.selecting import selecting

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet pause db", "rundlet pause --all"))
@selecting()
@pass_machine
def pause(machine: "Machine", **chosen: Any) -> None:
    """Freeze all processes of containers."""
    each(choose(machine, states=("running",), **chosen), machine.containers.pause)


@local_command(epilog=examples("rundlet unpause db", "rundlet unpause --all"))
@selecting()
@pass_machine
def unpause(machine: "Machine", **chosen: Any) -> None:
    """Let the processes of paused containers go on."""
    each(choose(machine, states=("paused",), **chosen), machine.containers.unpause)
