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
from rundlet.cli import dialect
from rundlet.cli.cri import COMMANDS as CRI_COMMANDS
from rundlet.cli.cri import command as cri_group
from rundlet.cli.duration import DURATION
from rundlet.cli.help import examples
from rundlet.cli.interrupts import dying_at_once, exit_code_of
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.report import report
from rundlet.cri.endpoint import KNOWN_SOCKETS
from rundlet.errors import Error

Commands = dict[str, tuple[str, str]]

CONTAINERS: Commands = {
    "run": ("local.run", "Run a command in a new container."),
    "create": ("local.create", "Make a container without starting it."),
    "start": ("local.start", "Start containers."),
    "stop": ("local.stop", "Stop containers."),
    "kill": ("local.kill", "Send containers a signal."),
    "restart": ("local.restart", "Stop containers and start them again."),
    "rm": ("local.rm", "Remove containers."),
    "pause": ("local.pause:pause", "Freeze all processes of containers."),
    "unpause": ("local.pause:unpause", "Let the processes of containers go on."),
    "wait": ("local.wait", "Wait for containers to end."),
    "rename": ("local.rename", "Give a container another name."),
    "update": ("local.update", "Change the limits of a container."),
    "ps": ("local.ps", "List containers."),
    "inspect": ("local.inspect", "Show all that is known of containers, images and others."),
    "logs": ("local.logs", "Show what containers have written."),
    "exec": ("local.exec", "Run a command in a running container."),
    "attach": ("local.attach", "Follow a running container, and type into it."),
    "cp": ("local.cp", "Copy files into and out of containers."),
    "top": ("local.top", "List the processes of a container."),
    "stats": ("local.stats", "Show what containers use."),
    "port": ("local.port", "Show the ports of containers on the host."),
    "diff": ("local.diff", "Show what a container has changed in its files."),
    "commit": ("local.commit", "Make an image of a container's files."),
    "export": ("local.export", "Write a container's files as a tar."),
    "events": ("local.events", "Show what happens to containers."),
}
GROUPS: Commands = {
    "pod": ("local.pod", "Containers that share a network."),
    "network": ("local.network", "What containers are connected by."),
    "volume": ("local.volume", "Directories that containers come and go around."),
    "secret": ("local.secret", "Small values that are in no image and no record."),
    "healthcheck": ("local.healthcheck", "Checks of containers' health."),
    "kube": ("local.kube", "Kubernetes' YAML, without a cluster."),
    "system": ("local.system", "This machine's facts, its disk usage, and what can go."),
}
IMAGES: Commands = {
    "image": ("image", "Copy, inspect, build, sign and sync images."),
    "images": ("local.images", "List images."),
    "pull": ("image_pull:pull", "Copy an image from a registry."),
    "push": ("image_pull:push", "Copy an image to a registry."),
    "rmi": ("image_list:rmi", "Remove images."),
    "tag": ("image_list:tag", "Give an image a further name."),
    "untag": ("image_list:untag", "Take names of an image away."),
    "history": ("image_history", "Show what an image was made by."),
    "load": ("image_archive:load", "Read images from an archive."),
    "save": ("image_archive:save", "Write images to an archive."),
    "login": ("image_login:login", "Log in to a registry."),
    "logout": ("image_login:logout", "Log out of a registry."),
}
SIGHT: Commands = {
    "doctor": ("local.doctor", "Check this host, and say what to do about what it lacks."),
    "why": ("why", "Show what objects are stuck at, since when, and what that waits for."),
    "trace": ("trace", "Show the steps of what ran, with their times."),
    "info": ("local.info", "Show facts of this machine."),
    "version": ("local.version", "Show this program's version."),
}
TOOLS: Commands = {
    "cri": ("cri", "crictl's verbs, for any CRI runtime."),
    "bwrap": ("bwrap", "Show the bubblewrap command for an OCI bundle."),
    "cni-install": ("cni_install", "Install the built-in CNI plugins as executables."),
    "completion": ("completion", "Print a shell's completion code."),
    "walk": ("walk:walk", "Walk from an empty machine to Redis answering in a pod."),
}
SECTIONS: dict[str, Commands] = {
    "Containers": CONTAINERS,
    "Pods, networks, volumes": GROUPS,
    "Images": IMAGES,
    "See through it": SIGHT,
    "CRI and tools": TOOLS,
}
LOCAL = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
ALIASES = {"img": "images"}
_COLLECT_AFTER = 100_000
_DIALECT = "rundlet.dialect"
_CRI_CLIENTS = ("cri", "why", "trace")


class _Group(LazyGroup):
    """podman's verbs first; crictl's where `dialect` says so."""

    table = LOCAL
    aliases = ALIASES

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = ALIASES.get(args[0], args[0])
        with dying_at_once():
            if _speaks_cri(ctx, word, args[1:]):
                return cri_group.resolve_command(ctx, args)
            ctx.meta[_DIALECT] = dialect.LOCAL if word in LOCAL else dialect.CRI
            return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


def _speaks_cri(ctx: click.Context, word: str, rest: list[str]) -> bool:
    if word not in CRI_COMMANDS or word not in LOCAL:
        return word in CRI_COMMANDS
    named = dialect.is_endpoint_named(ctx.params.get("runtime_endpoint", ""))
    there = any(map(os.path.exists, KNOWN_SOCKETS))
    return dialect.choose_dialect(word, rest, endpoint_named=named, socket_there=there) == dialect.CRI


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "rundlet run --rm -it docker.io/library/alpine sh",
        "rundlet ps --all",
        "rundlet cri pods",
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
    """Run containers on this machine with podman's verbs, without a daemon; drive any CRI runtime with crictl's.

    `rundlet cri VERB`, --runtime-endpoint or CONTAINER_RUNTIME_ENDPOINT mean crictl's verbs, at the
    first socket that exists unless one is named: rundletd's, CRI-O's, containerd's.
    """
    if given["debug"]:
        import logging  # a slow import, and elsewhere nobody listens

        logging.basicConfig(
            level=logging.DEBUG, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
        )
    if ctx.meta.get(_DIALECT) != dialect.LOCAL or ctx.invoked_subcommand in _CRI_CLIENTS:
        from rundlet.cli.session import Session

        ctx.obj = ctx.with_resource(Session(**given))


def run(arguments: list[str] | None = None) -> int:
    """The whole command line; returns the exit code: 0, 1 error, 2 usage, 128 + N interrupted."""
    try:
        code = cli.main(arguments, prog_name="rundlet", standalone_mode=False)
    except click.Abort as abort:
        return exit_code_of(abort.__cause__)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Error as error:
        if logging := sys.modules.get("logging"):
            logging.getLogger(__name__).debug("the command failed", exc_info=error)
        report(error)
        return 1
    return code if isinstance(code, int) else 0


def perform() -> int:
    """The command of sys.argv, its output flushed; returns the exit code."""
    # Few commands live long enough for garbage: the collector's looks at every import are 10 ms of a start.
    gc.set_threshold(_COLLECT_AFTER)
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:  # `rundlet ps | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


def main() -> None:
    _leave(perform())


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
