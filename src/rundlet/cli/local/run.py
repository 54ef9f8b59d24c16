"""`run`: make a container, start it, and stay with it or leave it in the background."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rundlet.cli.help import examples
from rundlet.cli.interrupts import holding_signals
from rundlet.cli.local.command import exit_with, local_command, passing_on
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.explaining import print_sections
from rundlet.cli.local.flags import declare, read_list
from rundlet.cli.local.making import making, parse_run
from rundlet.cli.local.pulling import bring_image
from rundlet.cli.local.refused import refusing
from rundlet.cli.local.runtable import RUN
from rundlet.cli.local.streams import Outcome, Way, catch_signals, passed_signals, run_session
from rundlet.cli.terminal import parse_keys
from rundlet.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from rundlet.engine.streams import AttachStreams
    from rundlet.local.machine import Machine
    from rundlet.local.options import RunOptions

_STREAMS = ("stdin", "stdout", "stderr")


@local_command(
    epilog=examples(
        "rundlet run --rm docker.io/library/redis:alpine redis-server --version",
        "rundlet run -d --name db -p 6379:6379 -v data:/data docker.io/library/redis:alpine",
        "rundlet run --rm -it --memory 256m --network none docker.io/library/alpine sh",
    ),
    context_settings={"allow_interspersed_args": False},
)
@passing_on("IMAGE [COMMAND [ARG]...]")
@declare(RUN)
@refusing("run")
@pass_machine
def command(machine: "Machine", words: Sequence[str], **given: Any) -> None:
    """Run a command in a new container.

    Ends with the exit code of the command; 125 when rundlet fails, 126 when the command cannot be
    executed, 127 when there is no such command.
    """
    asked = parse_run(given, words)
    if given["explain"]:
        print_sections(machine.containers.explain(asked, machine.settings.places))
        return
    attached = _choose_streams(given, asked)
    way = Way(
        stdin="stdin" in attached,
        terminal=asked.tty,
        detach_keys=parse_keys(given["detach_keys"]),
    )
    if given["detach"]:
        _run_detached(machine, asked, given)
    else:
        exit_with(_run_attached(machine, asked, given, way, attached))


def _choose_streams(given: dict[str, Any], asked: "RunOptions") -> tuple[str, ...]:
    chosen = tuple(name.lower() for name in read_list(given["attach"]))
    for name in chosen:
        if name not in _STREAMS:
            raise InvalidArgument(f"--attach {name}: not a stream", hint="stdin, stdout or stderr")
    if given["detach"] and chosen:
        raise InvalidArgument("--attach and --detach exclude each other")
    return chosen or (_STREAMS if asked.stdin else _STREAMS[1:])


def _run_detached(machine: "Machine", asked: "RunOptions", given: dict[str, Any]) -> None:
    asked = bring_image(machine, asked, given)
    with making(machine, asked, given) as container_id:
        machine.containers.start(container_id)
    print(container_id)


def _run_attached(
    machine: "Machine", asked: "RunOptions", given: dict[str, Any], way: Way, attached: Sequence[str]
) -> int:
    """The exit code."""
    asked = bring_image(machine, asked, given)
    with catch_signals(passed_signals(proxy=given["sig_proxy"])) as signal_fd:
        with making(machine, asked, given) as container_id:
            streams = open_streams(machine, container_id, attached)
            machine.containers.start(container_id, attended=True)
        if given["sig_proxy"]:
            way = way._replace(tell=teller(machine, container_id))
        outcome = stay(machine, container_id, streams, way, signal_fd)
    if not outcome.detached:
        settle(machine, container_id)
    return outcome.exit_code


def stay(
    machine: "Machine", container_id: str, streams: "AttachStreams", way: Way, signal_fd: int
) -> Outcome:
    """With the container until it ends; when nobody reads its output it goes on without a reader."""
    try:
        return run_session(streams, way, signal_fd)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = machine.containers.wait(container_id)
        return Outcome(code if code is not None else 0)


def open_streams(machine: "Machine", container_id: str, attached: Sequence[str]) -> "AttachStreams":
    return machine.containers.attach(
        container_id,
        stdin="stdin" in attached,
        stdout="stdout" in attached,
        stderr="stderr" in attached,
        lossless=True,
    )


def teller(machine: "Machine", container_id: str) -> Callable[[int], None]:
    return lambda number: machine.containers.kill(container_id, str(number))


def settle(machine: "Machine", container_id: str) -> None:
    """Let its network go, or all of it with --rm; the minder may have been first.

    A signal that comes now was meant for the container, which has ended.
    """
    try:
        with holding_signals():
            machine.containers.wait(container_id)  # its streams may tell of the end before the engine knows
            machine.containers.settle(container_id)
    except NotFound:
        pass
