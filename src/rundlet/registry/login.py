"""Log-ins kept on disk: written, found and removed; each change replaces the file at once."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from rundlet.errors import InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.registry.conffiles import read_text
from rundlet.registry.credentials import find_credentials
from rundlet.registry.helper import erase_credentials, list_registries, store_credentials
from rundlet.registry.places import AuthPlace
from rundlet.spec.authfile import check_key, encode_auth, helper_of, parse_auth_document
from rundlet.spec.json import encode_pretty
from rundlet.spec.registries import AUTH_FILE_HELPER

_HUB_KEY = "https://index.docker.io/v1/"


class LoginFile(NamedTuple):
    """The file that log-ins go to; `docker_compatible` writes docker.io's key as Docker reads it."""

    path: str
    helpers: tuple[str, ...] = (AUTH_FILE_HELPER,)
    docker_compatible: bool = False


def store_login(target: LoginFile, key: str, username: str, password: str) -> str:
    """Remember a log-in for a registry or repository; returns where: a path, or a helper's name.

    It goes to the first of `target.helpers`.  Raises InvalidArgument, FailedPrecondition.
    """
    check_key(key)
    if ":" in username:
        raise InvalidArgument(f"log-in to {key}: a user name cannot hold a colon")
    helper = target.helpers[0]
    if helper == AUTH_FILE_HELPER:
        helper = helper_of(_read(target.path), key, target.path)
    if helper:
        _check_whole_registry(helper, key)
        store_credentials(helper, key, username, password)
        return f"credential helper {helper}"
    _edit(target.path, lambda auths: auths.update({_file_key(target, key): encode_auth(username, password)}))
    return target.path


def remove_login(target: LoginFile, key: str) -> None:
    """Forget one log-in, in the file and in every helper; NotFound when there was none."""
    check_key(key)
    found = False
    for helper in target.helpers:
        if helper == AUTH_FILE_HELPER:
            inner = helper_of(_read(target.path), key, target.path)
            found |= bool(inner) and "/" not in key and erase_credentials(inner, key)
            found |= _edit(target.path, lambda auths: auths.pop(_file_key(target, key), None))
        elif "/" not in key:
            found |= erase_credentials(helper, key)
    if not found:
        raise NotFound(f"not logged in to {key}")


def remove_all_logins(target: LoginFile) -> None:
    """Forget every log-in that the file and the helpers keep."""
    for helper in target.helpers:
        if helper != AUTH_FILE_HELPER:
            for registry in list_registries(helper):
                erase_credentials(helper, registry)
            continue
        for registry, inner in _read(target.path).get("credHelpers", {}).items():
            erase_credentials(inner, registry)
        _edit(target.path, dict.clear)


def find_login(target: LoginFile, key: str) -> str:
    """The user that is logged in to `key`; NotFound when nobody is."""
    check_key(key)
    found = find_credentials(key, (AuthPlace(target.path),), target.helpers)
    if found is None:
        raise NotFound(f"not logged in to {key}")
    return found.username


def _check_whole_registry(helper: str, key: str) -> None:
    if "/" in key:
        raise InvalidArgument(f"log-in to {key}: credential helper {helper} keeps whole registries only")


def _file_key(target: LoginFile, key: str) -> str:
    return _HUB_KEY if target.docker_compatible and key == "docker.io" else key


def _read(path: str) -> dict[str, Any]:
    text = read_text(path)
    return parse_auth_document(text.encode(), path) if text is not None else {}


def _edit(path: str, change: Callable[[dict[str, Any]], object]) -> bool:
    """Change "auths" in the file at `path`; everything else in it stays.  False: nothing to change."""
    document = _read(path)
    auths = document.setdefault("auths", {})
    before = dict(auths)
    change(auths)
    if auths == before:
        return False
    write_secret(path, encode_pretty(document))
    return True


def write_secret(path: str, content: bytes) -> None:
    """Put a file that only we may read at `path`, whole or not at all; its directory is made."""
    fresh = f"{path}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with translating(f"write {path}"), ExitStack() as undo:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        with open(os.open(fresh, flags, 0o600), "wb") as file:
            undo.callback(os.unlink, fresh)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        undo.pop_all()
