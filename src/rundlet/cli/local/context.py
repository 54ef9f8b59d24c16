"""What verbs share: this machine, opened when a verb needs it, and several objects in one command."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.interrupts import dying_at_once
from rundlet.cli.local.command import FAILED
from rundlet.cli.report import report
from rundlet.errors import Error, FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.status import Container


_ALL_FAIL_ALIKE: Mapping[type[Error], int] = {}
REMOVAL: Mapping[type[Error], int] = {NotFound: 1, FailedPrecondition: 2}
"""podman's exit codes of `rm`: it is not there, or in use."""


def pass_machine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls with the machine as the first argument; it is closed when the command ends."""

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        with dying_at_once():
            from rundlet.local.machine import Machine

        return function(click.get_current_context().with_resource(Machine()), *args, **given)

    return call


def each(
    names: Iterable[str], act: Callable[[str], Any], *, codes: Mapping[type[Error], int] = _ALL_FAIL_ALIKE
) -> None:
    """`act` on every name, which is printed after it; failures are told, and the last one's code ends the command."""
    code = 0
    for name in names:
        try:
            act(name)
        except Error as error:
            report(error)
            code = codes.get(type(error), FAILED)
        else:
            print(name, flush=True)
    if code:
        raise click.exceptions.Exit(code)


def choose(
    machine: "Machine",
    names: Sequence[str],
    *,
    every: bool = False,
    latest: bool = False,
    states: tuple[str, ...] = (),
    files: Sequence[str] = (),
    filters: Sequence[str] = (),
) -> list[str]:
    """The containers that a verb is about: named, in id files, the last one made, filtered, or all (in `states`).

    Raises InvalidArgument when none is named in any of these ways.
    """
    chosen = [*names, *map(read_id_file, files)]
    if bool(chosen) + every + latest > 1:
        raise InvalidArgument("names, --all and --latest exclude each other")
    if latest:
        return [latest_container(machine).id]
    if every or filters:
        return [found.id for found in local_containers(machine, states, filters)]
    if not chosen:
        raise InvalidArgument("name at least one container", hint="or use --all or --latest")
    return chosen


def latest_container(machine: "Machine") -> "Container":
    found = local_containers(machine)
    if not found:
        raise InvalidArgument("there is no container yet")
    return found[0]


def local_containers(
    machine: "Machine", states: tuple[str, ...] = (), filters: Sequence[str] = ()
) -> list["Container"]:
    """Those of people, newest first; of one of the `states` when there are any."""
    from rundlet.cli.local.filters import make_filter
    from rundlet.local.status import ContainerQuery

    matches = make_filter(filters)
    return [
        found
        for found in machine.containers.list(ContainerQuery(all=True, origin="local"))
        if (not states or found.state in states) and matches(found)
    ]


def read_id_file(path: str, option: str = "--cidfile") -> str:
    """The id that an earlier command wrote there.  Raises InvalidArgument."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{option} {path}: {error}") from error


def one_name(machine: "Machine", names: Sequence[str], *, latest: bool) -> str:
    """Exactly one container."""
    if latest and not names:
        return latest_container(machine).id
    if latest or len(names) != 1:
        raise InvalidArgument("name exactly one container")
    return names[0]


def forgiving(act: Callable[[str], Any], *, ignore: bool) -> Callable[[str], Any]:
    """With `ignore`, what is not there counts as done."""

    def attempt(name: str) -> None:
        try:
            act(name)
        except NotFound:
            if not ignore:
                raise

    return attempt
