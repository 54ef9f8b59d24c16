from contextlib import ExitStack
from typing import Any

import click

from rundlet.cli.forwarding import Forwarder, listen_local, parse_ports
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cli.stream_options import read_tls, stream_options
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.stream_client import open_forward
from rundlet.errors import Unavailable


@click.command(epilog=examples("rundlet port-forward 5f2c 8080:80", "rundlet port-forward 5f2c :5432 6379"))
@click.argument("pod", metavar="POD-ID")
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL]:REMOTE...")
@stream_options
@click.pass_obj
def command(session: Session, /, pod: str, ports: tuple[str, ...], transport: str, **given: Any) -> None:
    """Forward local ports to ports inside a pod, until interrupted.

    Local listeners are on 127.0.0.1 and ::1; without a local port a free one is taken.
    """
    pairs = [parse_ports(text) for text in ports]
    request = api.PortForwardRequest(pod_sandbox_id=pod, port=[remote for _, remote in pairs])
    with ExitStack() as cleanup:
        stream = open_forward(
            lambda: session.call(session.runtime.PortForward, request).url, transport or "", read_tls(given)
        )
        cleanup.callback(stream.sock.close)
        listeners = {}
        for local, remote in pairs:
            for listener in listen_local(local, remote):
                cleanup.enter_context(listener)
                listeners[listener] = remote
        try:
            Forwarder(stream, listeners).run(stream.rest, b"")
        except KeyboardInterrupt:
            return
    raise Unavailable("the runtime has ended the port-forward")
