"""auth.json: who we are at which registry (containers-auth.json(5), Docker's config.json).

    {
      "auths": {
        "quay.io":            {"auth": base64("user:password")},
        "quay.io/team/image": {"auth": …, "identitytoken": …}      a key may be as long as a repository
      },
      "credHelpers": {"registry.example": "secretservice"},         docker-credential-secretservice
      "credsStore": "pass"                                          the same for all registries
    }

Docker's old ~/.dockercfg is what stands under "auths" here, alone.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.spec.base64 import decode_base64, encode_base64
from rundlet.spec.document import parse_document
from rundlet.spec.json import convert

_HUB_NAMES = {"docker.io": "index.docker.io", "registry-1.docker.io": "index.docker.io"}
_SCHEMES = ("https://", "http://")


class AuthEntry(Struct, frozen=True):
    """What a file says of one key; `identitytoken` and `registrytoken` are tokens instead of a password."""

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def __repr__(self) -> str:
        return "AuthEntry(…)"


class AuthFile(Struct, frozen=True, rename="camel"):
    """One file; keys that Docker keeps for other ends are not read."""

    auths: dict[str, AuthEntry] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


def parse_auth_file(raw: bytes, what: str, *, legacy: bool = False) -> AuthFile:
    """`legacy` reads ~/.dockercfg; an empty file says nothing.  InvalidArgument without any secret."""
    if not raw.strip():
        return AuthFile()
    if legacy:
        return AuthFile(auths=parse_document(raw, dict[str, AuthEntry], what))
    return parse_document(raw, AuthFile, what)


def parse_auth_document(raw: bytes, what: str) -> dict[str, Any]:
    """A file as it is, for an edit that keeps what it does not know; checked as `parse_auth_file` does."""
    parse_auth_file(raw, what)
    return parse_document(raw, dict[str, Any], what) if raw.strip() else {}


def find_entry(file: AuthFile, key: str, *, legacy: bool = False) -> tuple[str, AuthEntry] | None:
    """The entry for `key` ("quay.io/team/image"): the longest part of it that the file has.

    At last the registry alone is looked for under the names that Docker writes it with
    ("https://index.docker.io/v1/").
    """
    registry = key.partition("/")[0]
    for wanted in (registry,) if legacy else parts_of(key):
        if wanted in file.auths:
            return wanted, file.auths[wanted]
    for found, entry in file.auths.items():
        if _normalize(found, legacy=legacy) == _HUB_NAMES.get(registry, registry):
            return found, entry
    return None


def parts_of(key: str) -> Iterator[str]:
    """ "host/a/b", "host/a", "host"."""
    while key:
        yield key
        key = key.rpartition("/")[0]


def decode_auth(entry: AuthEntry, what: str) -> tuple[str, str]:
    """(user, password) of an entry, both empty when it has none; InvalidArgument without the secret."""
    if not entry.auth:
        return entry.username, entry.password
    try:
        user, colon, password = decode_base64(entry.auth, f"{what}: auth").decode().partition(":")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{what}: auth: not base64 of user:password") from error
    if not colon:
        raise InvalidArgument(f"{what}: auth: not base64 of user:password")
    return user, password.rstrip("\0")


def encode_auth(username: str, password: str) -> dict[str, str]:
    """The entry that a log-in writes."""
    return {"auth": encode_base64(f"{username}:{password}".encode())}


def check_key(key: str) -> None:
    """Raises InvalidArgument unless `key` is a registry or a repository without tag and digest."""
    _, slash, path = key.partition("/")
    if key.startswith(_SCHEMES) or "@" in key or ":" in path or (slash and not path) or not key:
        raise InvalidArgument(f"log-in to {key!r}: expected a registry or a repository, such as quay.io/team")


def helper_of(document: dict[str, Any], key: str, what: str) -> str:
    """The credential helper that a document names for `key`, "" for none."""
    file = convert(document, AuthFile, what)
    return file.cred_helpers.get(key, "") or ("" if "/" in key else file.creds_store)


def _normalize(key: str, *, legacy: bool) -> str:
    plain = key
    for scheme in _SCHEMES:
        plain = plain.removeprefix(scheme)
    if legacy or plain != key:
        plain = plain.partition("/")[0]
    return _HUB_NAMES.get(plain, plain)
