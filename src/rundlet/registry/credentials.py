"""Credentials for a registry from auth files and helpers, in the order of containers-auth.json(5)."""

from rundlet.errors import Error, InvalidArgument
from rundlet.registry.conffiles import read_text
from rundlet.registry.helper import get_credentials
from rundlet.registry.places import AuthPlace
from rundlet.registry.settings import Credentials
from rundlet.spec.authfile import AuthEntry, AuthFile, decode_auth, find_entry, parse_auth_file
from rundlet.spec.registries import AUTH_FILE_HELPER

_EMPTY = AuthEntry()


def find_credentials(
    name: str, places: tuple[AuthPlace, ...], helpers: tuple[str, ...] = (AUTH_FILE_HELPER,)
) -> Credentials | None:
    """Who we are for `name`, a repository ("quay.io/team/app") or a registry; None: nobody.

    `helpers` are asked in order; the name "containers-auth.json" stands for the files.
    A source that fails is passed over when another one knows the answer; else its error is raised.
    """
    failure: Error | None = None
    for helper in helpers:
        try:
            found = _ask(helper, name, places)
        except Error as error:
            failure = failure or error
            continue
        if found is not None:
            return found
    if failure is not None:
        raise failure
    return None


def _ask(helper: str, name: str, places: tuple[AuthPlace, ...]) -> Credentials | None:
    if helper != AUTH_FILE_HELPER:
        return get_credentials(helper, name.partition("/")[0])
    return next(filter(None, (_look_up(place, name) for place in places)), None)


def _look_up(place: AuthPlace, name: str) -> Credentials | None:
    file = read_auth_file(place)
    registry = name.partition("/")[0]
    if registry in file.cred_helpers:
        return get_credentials(file.cred_helpers[registry], registry)
    found = find_entry(file, name, legacy=place.legacy)
    if found is None or found[1] == _EMPTY:  # an empty entry is a mark that Docker leaves beside a helper
        return get_credentials(file.creds_store, registry) if file.creds_store else None
    key, entry = found
    user, password = decode_auth(entry, f"{place.path}: auths.{key}")
    return Credentials(user, password, entry.identitytoken, entry.registrytoken)


def read_auth_file(place: AuthPlace) -> AuthFile:
    """The file at `place`, an empty one when it is not there; InvalidArgument without any secret."""
    text = read_text(place.path)
    if text is None:
        return AuthFile()
    try:
        return parse_auth_file(text.encode(), place.path, legacy=place.legacy)
    except InvalidArgument as error:
        raise InvalidArgument(error.message, hint="log in again, or mend the file") from None
