"""rundletd: the engine behind the CRI socket, in the foreground, until SIGTERM or SIGINT.

Settings come from the defaults, then rundlet.toml and its drop-ins (engine.configfile), then
the options.  SIGHUP reads the files again: what `Engine.reload` takes and the log level change, what
else has changed waits for the next start.
"""

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Protocol

import click

import rundlet
import rundlet.cri.absent  # before what it leaves out
from rundlet.cri.claim import claim
from rundlet.cri.endpoint import socket_path
from rundlet.cri.systemd import notify
from rundlet.engine.configfile import DEFAULT_FILE, format_settings, load_settings, read_table
from rundlet.engine.criofile import format_taken, take_crio
from rundlet.engine.settings import Settings
from rundlet.errors import Error, PermissionDenied

GRACE_S = 5.0  # for calls in flight at SIGTERM; a stop or pull that is cut is repeated by the kubelet
LEVELS = ("debug", "info", "warning", "error")


class Reloadable(Protocol):
    """The engine, whose module takes long to import."""

    def reload(self, settings: Settings) -> None: ...


log = logging.getLogger(__name__)


def run(settings: Settings, reread: Callable[[], Settings]) -> None:
    """Serves until a signal comes; returns when every call has ended.  SIGHUP takes what `reread` gives."""
    # gRPC and the engine take long to import: not for --help or a wrong option
    from rundlet.cri.server import Server, clear_stale_socket
    from rundlet.cri.stream_server import StreamServer, StreamSettings
    from rundlet.cri.telemetry import start_telemetry
    from rundlet.engine.engine import Engine
    from rundlet.kernel.malloc import share_arena

    share_arena()
    with ExitStack() as undo:
        # Before the engine: its recovery must not meet another daemon.
        clear_stale_socket(socket_path(settings.socket))
        for directory in (settings.root, settings.run_root):
            undo.enter_context(claim(directory))
        signals = listen_to_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
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
        server = Server(engine, settings.socket, streams)
        server.start()
        undo.callback(server.stop, GRACE_S)
        start_telemetry(engine, settings, undo)
        click.echo(f"rundletd {rundlet.__version__} listens on unix://{server.path}")
        notify("READY=1", f"STATUS=listening on unix://{server.path}")
        engine.status()  # reads the features of the runtimes before anybody waits for them
        gc.freeze()  # what is loaded by now stays: later collections need not look at it
        while os.read(signals, 1)[0] == signal.SIGHUP:
            reload(engine, reread)
        log.info("stopping")
        notify("STOPPING=1")


def listen_to_signals(*numbers: int) -> int:
    """A descriptor that has a byte, its number, for each signal that comes.

    A handler in Python would not do: it runs when the main thread executes Python again, and one
    that has just begun to wait does not, nor does it when another thread took the signal.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return read_fd


def reload(engine: Reloadable, reread: Callable[[], Settings]) -> None:
    """A file that is wrong changes nothing; it is told in the log."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        settings = reread()
        engine.reload(settings)
    except Error as error:
        log.error("the configuration stays as it is: %s", error)  # noqa: TRY400 - no traceback for a typing error
    else:
        logging.getLogger().setLevel(settings.log_level.upper())
        log.warning("the configuration was read again")
    notify("READY=1")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise PermissionDenied("rundletd needs root: it mounts, joins namespaces and writes cgroups")


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  rundletd --log-level info\n  rundletd --config /etc/rundlet/rundlet.toml\n"
    "  rundletd config",
)
@click.option("--socket", help="Unix socket to serve CRI on (/run/rundlet/rundlet.sock).")
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
@click.option(
    "--config", default="", help=f"TOML file with settings ({DEFAULT_FILE}); the other options win over it."
)
@click.option("--log-level", type=click.Choice(LEVELS), help="How much to say on stderr.")
@click.version_option(rundlet.__version__, prog_name="rundletd")
@click.pass_context
def command(ctx: click.Context, /, config: str, **given: object) -> None:
    """Serve the Kubernetes CRI (v1) on a unix socket, in the foreground."""
    reread = partial(load_settings, config, given)
    if ctx.invoked_subcommand:
        ctx.obj = reread
        return
    settings = reread()
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    _require_root()
    run(settings, reread)


@command.command(
    "config",
    short_help="Print the configuration that rundletd would run with.",
    epilog="\b\nExamples:\n  rundletd config\n  rundletd config --default > /etc/rundlet/rundlet.toml\n"
    "  rundletd config --from-crio /etc/crio/crio.conf",
)
@click.option("--default", "default", is_flag=True, help="Print the defaults instead.")
@click.option("--from-crio", "crio", default="", help="Print what a crio.conf says, in rundletd's words.")
@click.pass_obj
def show_config(reread: Callable[[], Settings], default: bool, crio: str) -> None:
    """Print the configuration that rundletd would run with, each key with what it means."""
    from rundlet.engine.handlers import choose_runtimes

    if crio:
        click.echo(format_taken(take_crio(read_table(crio)), crio), nl=False)
        return
    settings = Settings() if default else reread()
    click.echo(format_settings(settings, choose_runtimes(settings)), nl=False)


@command.command(
    "unit",
    short_help="Print a systemd unit that runs this rundletd.",
    epilog="\b\nExamples:\n  rundletd unit > /etc/systemd/system/rundletd.service\n"
    "  systemctl daemon-reload && systemctl enable --now rundletd",
)
def show_unit() -> None:
    """Print a systemd unit that runs this rundletd, wherever it is installed."""
    from rundlet.cri.unit import format_unit

    click.echo(format_unit(), nl=False)


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
