import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rundlet.cli.help import examples
from rundlet.cli.local.command import exit_with, local_command, passing_on
from rundlet.cli.local.context import latest_container, pass_machine
from rundlet.cli.local.flags import SWITCH, TEXT, Flag, declare, read_list
from rundlet.cli.local.refused import refusing
from rundlet.cli.local.runtable import PROCESS
from rundlet.cli.local.streams import Way, catch_signals, passed_signals, run_session
from rundlet.cli.terminal import parse_keys
from rundlet.engine.options import ExecOptions
from rundlet.errors import InvalidArgument
from rundlet.local.words.environment import read_environment

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_PROCESS = ("-e --env", "--env-file", "-u --user", "-w --workdir")
_OPTIONS = (
    Flag("-d --detach", SWITCH, "", "Leave it in the background."),
    Flag("--detach-keys", TEXT, "KEYS", "Keys that leave it running.", "ctrl-p,ctrl-q"),
    *(flag for flag in PROCESS if flag.names in _PROCESS),
    Flag("-i --interactive", SWITCH, "", "Pass stdin on."),
    Flag("-t --tty", SWITCH, "", "With a terminal."),
    Flag("--privileged", SWITCH, "", "With all capabilities and without confinement."),
    Flag("-l --latest", SWITCH, "", "In the container that was made last."),
)


@local_command(
    epilog=examples(
        "rundlet exec db redis-cli ping",
        "rundlet exec -it -e TERM db sh",
        "rundlet exec -u nobody -w /tmp db id",
    ),
    context_settings={"allow_interspersed_args": False},
)
@passing_on("CONTAINER COMMAND [ARG]...")
@declare(_OPTIONS)
@refusing("exec")
@pass_machine
def command(machine: "Machine", words: Sequence[str], **given: Any) -> None:
    """Run a command in a running container and end with its exit code.

    126 says that it cannot be executed, 127 that there is no such command.
    """
    name, *argv = [latest_container(machine).id, *words] if given["latest"] else words
    if not argv:
        raise InvalidArgument("name a command to run")
    options = ExecOptions(
        env=read_environment(given["env"], read_list(given["env_file"]), os.environ),
        working_dir=given["workdir"] or "",
        user=given["user"] or "",
        privileged=given["privileged"],
    )
    container_id = machine.containers.get(name).id
    streams = machine.containers.exec_stream(
        container_id,
        argv,
        options=options,
        stdin=given["interactive"] and not given["detach"],
        terminal=given["tty"],
    )
    if given["detach"]:
        streams.close()
        return
    way = Way(given["interactive"], given["tty"], parse_keys(given["detach_keys"]))
    with catch_signals(passed_signals(proxy=False)) as signal_fd:
        exit_with(run_session(streams, way, signal_fd).exit_code)
