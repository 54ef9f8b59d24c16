"""rundletd: the engine behind the CRI socket, in the foreground, until SIGTERM or SIGINT.

Settings come from the defaults, then --config (TOML, the fields of
engine.settings.Settings), then the other options.
"""

import logging
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

import click

import rundlet
from rundlet.cri.endpoint import DEFAULT_SOCKET, socket_path
from rundlet.engine.settings import Settings, check_settings
from rundlet.errors import Error, InvalidArgument, NotFound, PermissionDenied
from rundlet.spec.json import convert

GRACE_S = 5.0  # for calls in flight at SIGTERM; a stop or pull that is cut is repeated by the kubelet
LEVELS = ("debug", "info", "warning", "error")

log = logging.getLogger(__name__)


def read_config(path: str) -> dict[str, Any]:
    """The TOML file's table; NotFound or InvalidArgument with the line."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise NotFound(f"no configuration file at {path}") from error
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidArgument(f"cannot read {path}: {error}") from error


def make_settings(config: str, given: Mapping[str, object]) -> Settings:
    """Settings from the file and from the options that were given (not None, not empty).

    Raises InvalidArgument with the name of the field that is unknown or wrong.
    """
    table = read_config(config) if config else {}
    table |= {key: value for key, value in given.items() if value}
    settings = convert(table, Settings, config or "options")
    check_settings(settings)
    return settings


def run(settings: Settings, address: str) -> None:
    """Serves until a signal comes; returns when every call has ended."""
    # gRPC and the engine take long to import: not for --help or a wrong option
    from rundlet.cri.server import Server, clear_stale_socket
    from rundlet.cri.stream_server import StreamServer, StreamSettings
    from rundlet.engine.engine import Engine

    clear_stale_socket(socket_path(address))  # before the engine: its recovery must not meet another daemon

    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    with ExitStack() as undo:
        engine = undo.enter_context(closing(Engine(settings)))
        streams = StreamServer(
            engine,
            StreamSettings(
                settings.stream_address,
                settings.stream_port,
                settings.stream_tls_cert,
                settings.stream_tls_key,
                settings.stream_idle_timeout_s,
            ),
        )
        undo.callback(streams.stop)
        streams.start()
        server = Server(engine, address, streams)
        server.start()
        undo.callback(server.stop, GRACE_S)
        click.echo(f"rundletd {rundlet.__version__} listens on unix://{server.path}")
        stopping.wait()
        log.info("stopping")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise PermissionDenied("rundletd needs root: it mounts, joins namespaces and writes cgroups")


@click.command(epilog="Example: rundletd --socket /run/rundlet/rundlet.sock --log-level info")
@click.option(
    "--socket", "address", default=DEFAULT_SOCKET, show_default=True, help="Unix socket to serve CRI on."
)
@click.option("--root", help="Directory of images and records.")
@click.option("--run-root", help="Directory of volatile state.")
@click.option("--cni-conf", "cni_conf_dir", help="Directory of CNI configuration files.")
@click.option("--cni-bin", "cni_bin_dirs", multiple=True, help="Directory of CNI plugins; may be repeated.")
@click.option("--stream-address", help="Address for clients of exec, attach and port-forward (127.0.0.1).")
@click.option(
    "--stream-port", type=click.IntRange(0, 65535), help="Its port; 0, the default, takes a free one."
)
@click.option("--stream-tls-cert", help="PEM file: certificate for streaming over TLS.")
@click.option(
    "--stream-tls-key", help="PEM file: the certificate's key; both are read again when they change."
)
@click.option("--config", default="", help="TOML file with settings; the other options win over it.")
@click.option("--log-level", type=click.Choice(LEVELS), help="How much to say on stderr.")
@click.version_option(rundlet.__version__, prog_name="rundletd")
def command(address: str, config: str, **given: object) -> None:
    """Serve the Kubernetes CRI (v1) on a unix socket, in the foreground."""
    settings = make_settings(config, given)
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    _require_root()
    run(settings, address)


def main() -> None:
    try:
        command.main(prog_name="rundletd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Error as error:
        click.echo(f"rundletd: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
