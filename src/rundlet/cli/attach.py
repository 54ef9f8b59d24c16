from typing import Any

import click

from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cli.stream import run_stream
from rundlet.cli.stream_options import read_tls, stream_options
from rundlet.cli.terminal import check_terminal
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.stream_client import open_command
from rundlet.streaming.command import Wanted


@click.command(epilog=examples("rundlet attach 3e02", "rundlet attach -it 3e02"))
@click.argument("id", metavar="CONTAINER-ID")
@click.option("-i", "--stdin", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="The container has a terminal; ctrl-p ctrl-q leaves it.")
@stream_options
@click.pass_obj
def command(session: Session, /, id: str, stdin: bool, tty: bool, transport: str, **given: Any) -> None:
    """Follow a running container's output, and type into it."""
    if tty:
        check_terminal()
    wanted = Wanted(stdin=stdin, stdout=True, stderr=not tty, terminal=tty)
    request = api.AttachRequest(container_id=id, tty=tty, stdin=stdin, stdout=True, stderr=not tty)
    stream = open_command(
        lambda: session.call(session.runtime.Attach, request).url, wanted, transport or "", read_tls(given)
    )
    code = run_stream(stream, stdin=stdin, terminal=tty)
    if code:
        raise click.exceptions.Exit(code)
