"""`rundlet walk`: from an empty machine to Redis answering in a pod, and back to an empty machine.

    rundlet walk                outer process: copies the image when one was named,
      └─ throw-away node        then is replaced by `python -m rundlet.runtime.node`
           └─ rundlet walk --on-host     the walk itself; rundletd is its child

`--on-host` leaves the node out and changes the machine's own network.
"""

import os
import sys
import time

import click

from rundlet.cli import walk_check, walk_image, walk_report
from rundlet.cli.help import examples
from rundlet.cli.walk_check import Leftover, Scope
from rundlet.cli.walk_place import Place, Plugins
from rundlet.cli.walk_steps import Step, Walk, steps_of
from rundlet.errors import Error, PermissionDenied

SETTLE_TIMEOUT_S = 10.0


@click.command(
    "walk",
    epilog=examples(
        "rundlet walk",
        "rundlet walk --image quay.io/crio/redis:alpine",
        "rundlet walk --plugins debian --keep",
    ),
)
@click.option("--image", default="", metavar="REF", help="An image with redis-server, from any registry.")
@click.option("--on-host", is_flag=True, help="Walk on this machine's own network, not in a throw-away node.")
@click.option("--keep", is_flag=True, help="Keep the walk's folder: store, logs, configuration.")
@click.option("--plugins", type=click.Choice(["builtin", "debian"]), default="builtin", show_default=True,
              help="CNI plugins: rundlet's own, or the binaries in /usr/lib/cni.")  # fmt: skip
@click.option("--base", default="", hidden=True, help="The folder that the outer process made.")
def walk(*, image: str, on_host: bool, keep: bool, plugins: Plugins, base: str) -> None:
    """Walk from an empty machine to Redis answering in a pod, and back to an empty machine.

    Every step is shown with its command, result and time; the end is a table of times and
    a check that nothing is left.  Exits 1 when a step fails or something is left.
    """
    if os.geteuid() != 0:
        raise PermissionDenied("the walk makes namespaces and mounts", hint="run it as root")
    if on_host or base:
        sys.exit(walk_here(image, keep=keep, plugins=plugins, base=base))
    walk_in_node(image, keep=keep, plugins=plugins)


def walk_in_node(image: str, *, keep: bool, plugins: Plugins) -> None:
    """Replace this process by one that runs the same command inside a throw-away node.

    The node's network ends at its own loopback, so a named image is fetched here.
    """
    with Place.make(keep=keep) as place:  # goes if this fails; execv hands it on
        if image:
            walk_report.say(f"fetching {image} for the node's own registry")
            walk_image.mirror_image(image, place.registry_dir)
        command = [sys.executable, "-m", "rundlet.cli.main", "walk", "--base", place.base]
        command += ["--plugins", plugins, *(["--image", image] * bool(image)), *(["--keep"] * keep)]
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "rundlet.runtime.node", "--", *command])


def walk_here(image: str, *, keep: bool, plugins: Plugins, base: str) -> int:
    """The whole walk in this process's own namespaces; the exit code."""
    in_node = bool(base)
    with Place.make(keep=keep, base=base) as place:
        scope = Scope(
            place.run_root,
            marks=() if in_node else (place.base, "/rundlet-walk"),
            # The reference bridge plugin never removes its bridge; rundlet's own does.
            kept_interfaces=("cni0",) if plugins == "debian" else (),
        )
        place.write_network()
        place.write_config(plugins)
        with walk_image.serve_image(image, place, mirrored=in_node) as reference:
            place.write_pod(reference)
            before = walk_check.take_traces(scope)
            succeeded, timings = run_steps(Walk(place, reference))
            left = walk_check.await_nothing_left(before, scope, SETTLE_TIMEOUT_S)
        walk_report.show_times(timings)
        return conclude(succeeded, left, place)


def run_steps(state: Walk) -> tuple[bool, list[walk_report.Timing]]:
    """Every step in turn until one fails; the daemon does not outlive them."""
    timings: list[walk_report.Timing] = []
    try:
        for number, step in enumerate(steps_of(state), start=1):
            timings.append(run_step(number, step, state))
    except (Error, OSError) as error:
        walk_report.say(f"    failed: {error}", fg="red")
        walk_report.say()
        return False, timings
    finally:
        state.daemon.stop()
    return True, timings


def run_step(number: int, step: Step, state: Walk) -> walk_report.Timing:
    walk_report.show_start(number, step.title, step.command)
    started_ns = time.perf_counter_ns()
    lines = step.run(state)
    elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
    walk_report.show_result(lines, elapsed_ms)
    return walk_report.Timing(number, step.title, elapsed_ms)


def conclude(succeeded: bool, left: tuple[Leftover, ...], place: Place) -> int:
    walk_report.show_leftovers(left, walk_check.Traces._fields)
    if place.keep:
        walk_report.say(f"kept: {place.base}")
    if not succeeded:
        walk_report.say("the walk failed", fg="red")
    elif left:
        walk_report.say(f"the walk left {len(left)} things behind", fg="red")
    else:
        walk_report.say("the walk is done: redis answered, and nothing is left", fg="green")
    return 0 if succeeded and not left else 1
