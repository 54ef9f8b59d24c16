"""Registry credentials from options; a password is asked for, never taken from the command line alone."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rundlet.cli.ask import ask
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument

Command = TypeVar("Command", bound=Callable[..., Any])


def credential_options(command: Command) -> Command:
    """--creds, --auth, --username."""
    for option in (
        click.option("-u", "--username", default="", help="User at the registry; the password is asked for."),
        click.option("--auth", default="", envvar="CRICTL_AUTH", help="Base64 of USER[:PASSWORD]."),
        click.option(
            "--creds", default="", envvar="CRICTL_CREDS", metavar="USER[:PASSWORD]", help="User and password."
        ),
    ):
        command = option(command)
    return command


def auth_config(creds: str, auth: str, username: str) -> api.AuthConfig | None:
    """None without credentials; InvalidArgument when two kinds are given."""
    if sum(map(bool, (creds, auth, username))) > 1:
        raise InvalidArgument("--creds, --auth and --username exclude each other")
    if username:
        password = ask("Enter password", hidden=True, instead="give both with --creds USER:PASSWORD")
        return api.AuthConfig(username=username, password=password)
    if creds:
        user, _, password = creds.partition(":")
        return api.AuthConfig(username=user, password=password)
    return api.AuthConfig(auth=auth) if auth else None
