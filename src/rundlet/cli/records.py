"""Asking the daemon, and its records when it does not answer."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from rundlet.cli.session import Session
from rundlet.errors import DeadlineExceeded, Error, NotFound, Unavailable, Unimplemented

T = TypeVar("T")

ANSWER_S = 5.0
_SILENT = (Unavailable, DeadlineExceeded, NotFound)


def roots_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--root and --run-root: whose records to read, without asking anybody."""
    for name, what in (("run-root", "volatile state"), ("root", "images and records")):
        text = f"Read the records here instead of asking the daemon: its directory of {what}."
        command = click.option(f"--{name}", default="", metavar="DIRECTORY", help=text)(command)
    return command


@contextmanager
def open_records(root: str, run_root: str) -> Iterator[Any]:
    """The evidence (engine.evidence) in these directories, or in those of rundlet.toml."""
    from rundlet.engine.configfile import load_settings
    from rundlet.engine.evidence import open_evidence

    settings = load_settings(given={"root": root, "run_root": run_root})
    with open_evidence(settings.root, settings.run_root) as evidence:
        yield evidence


def ask_daemon(session: Session, ask: Callable[[Any], T]) -> T | None:
    """What `ask` gets from the stub of the daemon's own service (cri.insight); None when no daemon answers.

    Raises Unimplemented for another runtime.
    """
    import grpc

    from rundlet.cri.errors import error_from_call
    from rundlet.cri.insight import InsightStub

    try:
        channel = session.client.channel
    except _SILENT as silence:
        _tell_silence(silence)
        return None
    try:
        return ask(InsightStub(channel))
    except grpc.RpcError as failure:
        error = error_from_call(failure)
        if isinstance(error, Unimplemented):
            raise Unimplemented(
                f"the runtime at {session.endpoint} does not tell what it is doing",
                hint="only rundletd does; name its socket with --runtime-endpoint",
            ) from error
        if not isinstance(error, (Unavailable, DeadlineExceeded)):
            raise error from failure
        _tell_silence(error)
        return None


def _tell_silence(error: Error) -> None:
    print(f"rundlet: the daemon does not answer ({error.message}): told from its records", file=sys.stderr)
