from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command, passing_on
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.flags import declare
from rundlet.cli.local.making import making, parse_run
from rundlet.cli.local.pulling import bring_image
from rundlet.cli.local.refused import refusing
from rundlet.cli.local.runtable import CREATE

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(
    epilog=examples("rundlet create --name db -p 6379:6379 docker.io/library/redis:alpine"),
    context_settings={"allow_interspersed_args": False},
)
@passing_on("IMAGE [COMMAND [ARG]...]")
@declare(CREATE)
@refusing("create")
@pass_machine
def command(machine: "Machine", words: Sequence[str], **given: Any) -> None:
    """Make a container without starting it, and print its id."""
    asked = parse_run(given, words)
    asked = bring_image(machine, asked, given)
    with making(machine, asked, given) as container_id:
        pass
    print(container_id)
