"""The `rundlet` command: global options, lazily loaded commands, and errors as one line.

A command's module is imported when the command is used: `rundlet --help` and
completion read the table below and nothing else.
"""

import atexit
import gc
import os
import sys
import threading
from typing import Any

import click

import rundlet
from rundlet.cli.duration import DURATION
from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.session import Session
from rundlet.errors import Error

COMMANDS: dict[str, tuple[str, str]] = {
    "version": ("version", "Show the runtime's name, version and API version."),
    "info": ("info", "Show the runtime's conditions and configuration."),
    "pull": ("pull", "Pull an image from a registry."),
    "images": ("images", "List images."),
    "image": ("image", "Copy, inspect, sign and sync images, in registries, archives and here."),
    "inspecti": ("inspecti", "Show the status of images."),
    "rmi": ("rmi", "Remove images."),
    "imagefsinfo": ("imagefsinfo", "Show the disk usage of images."),
    "runp": ("runp", "Run a new pod sandbox."),
    "pods": ("pods", "List pod sandboxes."),
    "inspectp": ("inspectp", "Show the status of pod sandboxes."),
    "statsp": ("statsp", "Show resource usage of pod sandboxes."),
    "stopp": ("stopp", "Stop running pod sandboxes."),
    "rmp": ("rmp", "Remove pod sandboxes."),
    "create": ("create", "Create a container in a pod sandbox."),
    "start": ("start", "Start created containers."),
    "ps": ("ps", "List containers."),
    "inspect": ("inspect", "Show the status of containers."),
    "exec": ("exec", "Run a command in a running container."),
    "attach": ("attach", "Follow a running container, and type into it."),
    "port-forward": ("port_forward", "Forward local ports to a pod sandbox."),
    "logs": ("logs", "Show the log of a container."),
    "stats": ("stats", "Show resource usage of containers."),
    "update": ("update", "Change the limits of running containers."),
    "why": ("why", "Show what objects are stuck at, since when, and what that waits for."),
    "doctor": ("local.doctor", "Check this host, and say what to do about what it lacks."),
    "trace": ("trace", "Show the steps of what ran, with their times."),
    "bwrap": ("bwrap", "Show the bubblewrap command for an OCI bundle."),
    "stop": ("stop", "Stop running containers."),
    "rm": ("rm", "Remove containers."),
    "runtime-config": ("runtime_config", "Show the runtime's cgroup driver."),
    "cni-install": ("cni_install", "Install the built-in CNI plugins as executables."),
    "completion": ("completion", "Print a shell's completion code."),
    "walk": ("walk:walk", "Walk from an empty machine to Redis answering in a pod."),
}
ALIASES = {"img": "images"}
_COLLECT_AFTER = 100_000


class _Group(LazyGroup):
    table = COMMANDS
    aliases = ALIASES


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "rundlet version",
        "rundlet -r unix:///run/crio/crio.sock pods",
        "rundlet COMMAND --help",
    ),
)
@click.option(
    "-r",
    "--runtime-endpoint",
    default="",
    help="Socket of the CRI runtime. [env: CONTAINER_RUNTIME_ENDPOINT]",
)
@click.option(
    "-i",
    "--image-endpoint",
    default="",
    help="Socket of the CRI image service. [env: IMAGE_SERVICE_ENDPOINT]",
)
@click.option("-t", "--timeout", type=DURATION, default=None, help="Time to wait for a connection (2s).")
@click.option(
    "-c", "--config", default="", help="Client configuration file (/etc/crictl.yaml). [env: CRI_CONFIG_FILE]"
)
@click.option("-D", "--debug", is_flag=True, help="Show requests, answers and tracebacks.")
@click.version_option(rundlet.__version__, "-v", "--version", prog_name="rundlet")
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Drive a CRI container runtime: rundletd, CRI-O, containerd.

    Without --runtime-endpoint the first socket that exists is used: rundletd's,
    CRI-O's, containerd's.
    """
    if given["debug"]:
        import logging  # a slow import, and elsewhere nobody listens

        logging.basicConfig(
            level=logging.DEBUG, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
        )
    ctx.obj = ctx.with_resource(Session(**given))


def _report(error: Error) -> None:
    print(f"rundlet: {error.message}", file=sys.stderr)
    hint = error.hint
    if not hint and isinstance(error.__cause__, PermissionError) and os.geteuid() != 0:
        hint = "run it as root"
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def run(arguments: list[str] | None = None) -> int:
    """The whole command line; returns the exit code: 0, 1 error, 2 usage, 130 interrupted."""
    try:
        code = cli.main(arguments, prog_name="rundlet", standalone_mode=False)
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Error as error:
        if logging := sys.modules.get("logging"):
            logging.getLogger(__name__).debug("the command failed", exc_info=error)
        _report(error)
        return 1
    return code if isinstance(code, int) else 0


def main() -> None:
    # Few commands live long enough for garbage: the collector's looks at every import are 10 ms of a start.
    gc.set_threshold(_COLLECT_AFTER)
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:  # `rundlet ps | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    _leave(code)


def _leave(code: int) -> None:
    """End the process.

    With no thread left there is nothing to wait for: what asked to be called at the end is, and the
    interpreter, which takes itself apart for 20 ms, is not.
    """
    if threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing ends its processes
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
