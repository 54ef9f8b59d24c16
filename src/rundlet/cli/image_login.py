import os
import sys
from typing import Any

import click

from rundlet.cli.ask import ask
from rundlet.cli.image_options import image_command, open_host, read_access
from rundlet.errors import InvalidArgument

_FILE_OPTIONS = (
    click.option("--authfile", default="", metavar="FILE", help="auth.json. [env: REGISTRY_AUTH_FILE]"),
    click.option("--compat-auth-file", default="", metavar="FILE", help="Docker's config.json instead."),
)


@image_command(
    "rundlet image login quay.io", "pass show quay | rundlet image login -u ann --password-stdin quay.io"
)
@click.argument("registry", metavar="REGISTRY")
@_FILE_OPTIONS[0]
@_FILE_OPTIONS[1]
@click.option("-u", "--username", default="", help="User; asked for when it is not given.")
@click.option("-p", "--password", default="", help="Password; asked for when it is not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--get-login", is_flag=True, help="Print who is logged in.")
@click.option("--cert-dir", default="", metavar="DIR", help="*.crt, *.cert, *.key for the registry.")
@click.option("--tls-verify/--no-tls-verify", default=None, help="Require HTTPS that verifies.")
@click.option("-v", "--verbose", is_flag=True, help="Say where the log-in is kept.")
def login(registry: str, authfile: str, compat_auth_file: str, **given: Any) -> None:
    """Log in to a registry, or a repository of it; the registry is asked whether the password is right."""
    from rundlet.registry import login as logins

    target = _target(authfile, compat_auth_file)
    key = registry.removeprefix("https://").removeprefix("http://").rstrip("/")
    if given["get_login"]:
        print(logins.find_login(target, key))
        return
    user, password = _ask(given["username"], given["password"], stdin=given["password_stdin"])
    access = read_access({"cert_dir": given["cert_dir"], "tls_verify": given["tls_verify"]})
    open_host().registries(access).check_login(key, user, password)
    where = logins.store_login(target, key, user, password)
    if given["verbose"]:
        print(f"Used: {where}")
    print("Login Succeeded!")


@image_command("rundlet image logout quay.io", "rundlet image logout --all")
@click.argument("registry", metavar="[REGISTRY]", default="")
@_FILE_OPTIONS[0]
@_FILE_OPTIONS[1]
@click.option("-a", "--all", "every", is_flag=True, help="Forget all log-ins.")
def logout(registry: str, authfile: str, compat_auth_file: str, every: bool) -> None:
    """Forget a log-in."""
    from rundlet.registry import login as logins

    if bool(registry) == every:
        raise InvalidArgument("name a registry, or --all")
    target = _target(authfile, compat_auth_file)
    if every:
        logins.remove_all_logins(target)
        print("Removed login credentials for all registries")
        return
    logins.remove_login(target, registry)
    print(f"Removed login credentials for {registry}")


def _target(authfile: str, compat_auth_file: str) -> Any:
    from rundlet.registry.login import LoginFile

    if authfile and compat_auth_file:
        raise InvalidArgument("--authfile and --compat-auth-file exclude each other")
    if compat_auth_file:
        return LoginFile(compat_auth_file, docker_compatible=True)
    registries = open_host().registries()
    path = authfile or os.environ.get("REGISTRY_AUTH_FILE", "") or registries.places.auth[0].path
    return LoginFile(path, registries.load().conf.credential_helpers)


def _ask(user: str, password: str, *, stdin: bool) -> tuple[str, str]:
    if stdin and password:
        raise InvalidArgument("--password and --password-stdin exclude each other")
    if stdin and not user:
        raise InvalidArgument("--password-stdin needs --username")
    user = user or ask("Username", instead="name the user with --username")
    if stdin:
        return user, sys.stdin.read().rstrip("\r\n")
    return user, password or ask("Password", hidden=True, instead="pipe it in with --password-stdin")
