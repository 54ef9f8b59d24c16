"""Credential helpers: docker-credential-NAME programs that keep secrets elsewhere.

    get     stdin  registry.example                stdout {"ServerURL": …, "Username": …, "Secret": …}
    store   stdin  {"ServerURL": …, "Username": …, "Secret": …}
    erase   stdin  registry.example
    list                                           stdout {"registry.example": "user", …}

A user name of "<token>" says that the secret is an identity token.  A failing helper says why
on stdout; one text of it means that it has nothing for this registry.
"""

import os
import re
from typing import Final, Literal

from msgspec import Struct

from rundlet.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from rundlet.registry.settings import Credentials
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode

_TIMEOUT_S: Final = 30.0
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the protocol's word
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# The protocol has no code for it: all helpers share this text of one library.
_NOT_FOUND: Final = "credentials not found in native keychain"


class _Answer(Struct, frozen=True):
    Username: str = ""
    Secret: str = ""


def get_credentials(helper: str, registry: str) -> Credentials | None:
    """What the helper keeps for `registry`, None when nothing."""
    raw = _run(helper, "get", registry.encode())
    if raw is None:
        return None
    answer = parse_document(raw, _Answer, f"credential helper {helper}")
    if answer.Username == _TOKEN_USER:
        return Credentials(identity_token=answer.Secret)
    return Credentials(answer.Username, answer.Secret) if answer.Username or answer.Secret else None


def store_credentials(helper: str, registry: str, username: str, password: str) -> None:
    secret = {"ServerURL": registry, "Username": username, "Secret": password}
    _run(helper, "store", encode(secret))


def erase_credentials(helper: str, registry: str) -> bool:
    """False when there was nothing to erase."""
    return _run(helper, "erase", registry.encode()) is not None


def list_registries(helper: str) -> list[str]:
    """The registries that the helper keeps something for."""
    raw = _run(helper, "list", b"")
    return sorted(parse_document(raw, dict[str, str], f"credential helper {helper}")) if raw else []


def _run(helper: str, verb: Literal["get", "store", "erase", "list"], given: bytes) -> bytes | None:
    """Its output; None when it says that it has nothing.

    Raises FailedPrecondition (missing, or failed), DeadlineExceeded.
    """
    if not _NAME.fullmatch(helper):
        raise InvalidArgument(f"credential helper {helper!r}: expected a name such as secretservice")
    import subprocess  # a slow import, and most hosts have no helper

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=given, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"{program} {verb}: no answer within {_TIMEOUT_S:g} s") from error
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"{program}: {reason}", hint="is it installed, and in PATH?") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout or done.stderr).decode(errors="replace").strip()
    if said == _NOT_FOUND:
        return None
    first_line = said.partition("\n")[0][:200]
    raise FailedPrecondition(f"{program} {verb}: {first_line or f'ended with status {done.returncode}'}")
