import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from rundlet.cli.help import examples
from rundlet.cli.records import ask_daemon, open_records, roots_options
from rundlet.cli.session import Session
from rundlet.cli.tracetree import format_tree
from rundlet.engine.insight import is_wanted
from rundlet.errors import NotFound
from rundlet.spec.json import encode
from rundlet.trace.chrome import chrome_trace
from rundlet.trace.view import StepView


@click.command(
    epilog=examples(
        "rundlet trace",
        "rundlet trace default/web",
        "rundlet trace --follow --failed",
        "rundlet trace --chrome start.json 5f2c8a1b",
    )
)
@click.argument("names", nargs=-1, metavar="[POD|CONTAINER|IMAGE]...")
@click.option("-f", "--follow", is_flag=True, help="Show what ends from now on instead, until interrupted.")
@click.option("--failed", is_flag=True, help="Only what failed.")
@click.option(
    "-n",
    "--last",
    type=click.IntRange(min=0),
    default=0,
    help="Only the last N operations (0: all that are kept).",
)
@click.option(
    "--chrome", default="", metavar="FILE", help="Write a Chrome trace file, for Perfetto, instead."
)
@roots_options
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Format; json: a line each."
)
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], output: str, chrome: str, **given: Any) -> None:
    """Show the steps of what ran, and runs, with their times, as a tree.

    The daemon keeps its newest operations of each kind.  When it does not answer, its records tell
    what it is, or was, at when it was killed.
    """
    if given["follow"] and (chrome or given["last"]):
        raise click.UsageError("--follow never ends: leave --chrome and --last out")
    found = _find_steps(session, names, given)
    if names and found == []:  # what is followed is no list
        raise NotFound(
            f"no step of {', '.join(map(repr, names))} is kept",
            hint="give an id, the beginning of one, or a name; without any, all that is kept is shown",
        )
    steps = _choose(found, given["last"], failed=given["failed"])
    if chrome:
        _write_chrome(chrome, steps)
        return
    for step in steps:
        print(
            encode(step).decode() if output == "json" else "\n".join(format_tree(step, time.time_ns())),
            flush=True,
        )


def _find_steps(session: Session, names: tuple[str, ...], given: dict[str, Any]) -> Iterable[StepView]:
    from rundlet.cri.insight import TraceRequest

    request = TraceRequest(names, follow=given["follow"])
    steps = None
    if not given["root"] and not given["run_root"]:
        steps = ask_daemon(session, lambda stub: _receive(stub, request))
    return _read(names, given["root"], given["run_root"]) if steps is None else steps


def _receive(stub: Any, request: Any) -> Iterable[StepView]:
    """A stream that is followed comes step by step; another one whole, so that a failure is known at once."""
    answer = stub.Trace(request)
    return answer if request.follow else list(answer)


def _read(names: Sequence[str], root: str, run_root: str) -> list[StepView]:
    with open_records(root, run_root) as evidence:
        return [view for view in (*evidence.failed, *evidence.running) if is_wanted(view, names)]


def _choose(steps: Iterable[StepView], last: int, *, failed: bool) -> Iterable[StepView]:
    wanted: Iterator[StepView] = (step for step in steps if not failed or step.failure)
    return list(wanted)[-last:] if last else wanted


def _write_chrome(path: str, steps: Iterable[StepView]) -> None:
    from rundlet.kernel.failure import translating

    document = chrome_trace(steps, time.time_ns())
    with translating(f"write {path}"), open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
