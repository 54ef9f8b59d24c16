"""Options that every command with a stream has: transport and TLS, as crictl's."""

from collections.abc import Callable
from typing import Any

import click

from rundlet.cri.stream_client import StreamTls

Command = Callable[..., Any]


def stream_options(command: Command) -> Command:
    """Gives the command `transport`, `tls_ca`, `tls_cert`, `tls_key` and `tls_sni`."""
    options = [
        click.option(
            "-r",
            "--transport",
            type=click.Choice(["websocket", "spdy"]),
            default=None,
            help="Protocol to the streaming server (websocket, and spdy where that is refused).",
        ),
        click.option("--tls-ca", default="", metavar="FILE", help="Check the server with this CA certificate."),
        click.option("--tls-cert", default="", metavar="FILE", help="Certificate to show the server."),
        click.option("--tls-key", default="", metavar="FILE", help="Key of the certificate."),
        click.option(
            "--tls-sni", "--tls-server-name", default="localhost", show_default=True,
            help="Name that the server's certificate must have.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_tls(given: dict[str, Any]) -> StreamTls:
    """Takes the TLS options out of a command's arguments."""
    return StreamTls(*(given.pop(name) for name in ("tls_ca", "tls_cert", "tls_key", "tls_sni")))
