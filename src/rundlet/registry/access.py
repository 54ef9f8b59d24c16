"""Registries as this host's files configure them: a name in, an open image out.

    open(name)   name ─▶ endpoints (registries.conf) ─▶ first that has the manifest
                        each with its credentials (auth.json) and its certificates (certs.d)
    home(name)   the registry itself, for pushes, tags and deletions: never a mirror

Mirrors that do not answer in time, or not with the image, are passed over; the registry
itself is asked last and its error is the one that is told.
"""

import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

from rundlet.errors import Cancelled, Error
from rundlet.registry.aliases import record_alias
from rundlet.registry.client import Clock, Fetched, RegistryClient
from rundlet.registry.conffiles import LoadedRegistries, load_registries
from rundlet.registry.credentials import find_credentials
from rundlet.registry.endpoints import (
    Endpoint,
    find_endpoints,
    find_home,
    list_choices,
    resolve_name,
    shorten_alias,
)
from rundlet.registry.places import Places, find_places
from rundlet.registry.settings import Credentials, RegistrySettings
from rundlet.spec.reference import Reference, has_domain, parse_reference

# A mirror is there to be quick: with others to ask, none may hold up a pull for longer.
_MIRROR_TIMEOUT_S = 15.0


class Remote(NamedTuple):
    """An image or repository at one endpoint: call `client` with `reference` and `credentials`.

    `name` is what the image is called, whatever the endpoint calls it.
    """

    name: Reference
    reference: Reference
    client: RegistryClient
    credentials: Credentials | None = None


class Opened(NamedTuple):
    """An image found at `remote`, with the manifest or index that the name stands for.

    `passed_over` says of each endpoint that was tried before why it did not do.
    """

    remote: Remote
    fetched: Fetched
    passed_over: tuple[str, ...] = ()


class Registries:
    """All registries, as seen from this host; thread-safe, connections are kept and shared.

    The files are read again when they change.
    """

    def __init__(
        self,
        settings: RegistrySettings | None = None,
        places: Places | None = None,
        *,
        clock: Clock = Clock(),  # noqa: B008 - immutable
    ) -> None:
        self.places = places or find_places()
        self._clock = clock
        self._clients = self._make_clients(settings or RegistrySettings(certs_dirs=self.places.certs_dirs))
        self._lock = threading.Lock()
        self._stamp: object = None
        self._loaded = LoadedRegistries()

    def _make_clients(self, settings: RegistrySettings) -> dict[bool, RegistryClient]:
        """By whether plain HTTP and certificates that do not verify will do anywhere."""
        return {
            False: RegistryClient(settings, clock=self._clock),
            True: RegistryClient(settings._replace(insecure_hosts=("*",)), clock=self._clock),
        }

    def reload(self, settings: RegistrySettings, places: Places) -> None:
        """Go by other settings and files from now on; what is under way ends as it began.

        Errors as `load_registries`; then nothing has changed.
        """
        load_registries(places)
        fresh = self._make_clients(settings)
        with self._lock:
            self._clients, old = fresh, self._clients
            self.places, self._stamp = places, None
        for client in old.values():
            client.close()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def load(self) -> LoadedRegistries:
        """registries.conf as it is now; errors as `load_registries`."""
        stamp = _stamp_files(self.places)
        with self._lock:
            if stamp != self._stamp:
                self._loaded, self._stamp = load_registries(self.places), stamp
                _warn(self._loaded.notices)
            return self._loaded

    def resolve_name(self, text: str) -> tuple[Reference, ...]:
        """The images that a name as written may mean; see `endpoints.resolve_name`."""
        if has_domain(text):
            return (parse_reference(text),)  # the files, which take 5 ms to read, say nothing of it
        return resolve_name(self.load().conf, text)

    def list_choices(self, text: str) -> tuple[Reference, ...]:
        """See `endpoints.list_choices`."""
        return list_choices(self.load().conf, text)

    def record_choice(self, text: str, chosen: Reference) -> None:
        """Have the short name in `text` mean the repository of `chosen` from now on; see `aliases`."""
        record_alias(self.places.short_name_aliases, shorten_alias(text), chosen)

    def open(
        self,
        reference: Reference,
        credentials: Credentials | None = None,
        *,
        deadline_ns: int | None = None,
    ) -> Opened:
        """The first endpoint that has the image.

        `credentials` are for the registry in the name, and never shown to a mirror elsewhere;
        without them auth.json is asked for each endpoint.  Raises what `RegistryClient.resolve`
        raises of the last endpoint, PermissionDenied when the registry is blocked.
        """
        endpoints = find_endpoints(self.load().conf, reference)
        passed_over: list[str] = []
        for endpoint in endpoints[:-1]:
            limit_ns = self._clock.now_ns() + int((endpoint.timeout_s or _MIRROR_TIMEOUT_S) * 1e9)
            limit_ns = limit_ns if deadline_ns is None else min(limit_ns, deadline_ns)
            try:
                return self._open_at(endpoint, reference, credentials, limit_ns, passed_over)
            except Cancelled:
                raise
            except Error as error:
                passed_over.append(f"{endpoint.reference}: {error.message}")
        try:
            return self._open_at(endpoints[-1], reference, credentials, deadline_ns, passed_over)
        except Error as error:
            if passed_over:
                raise type(error)(error.message, hint=_explain(passed_over, error.hint)) from error
            raise

    def open_any(
        self, text: str, credentials: Credentials | None = None, *, deadline_ns: int | None = None
    ) -> Opened:
        """`open` of a name as written: the first candidate that a registry has."""
        candidates = self.resolve_name(text)
        failure: Error | None = None
        for candidate in candidates:
            try:
                return self.open(candidate, credentials, deadline_ns=deadline_ns)
            except Cancelled:
                raise
            except Error as error:
                failure = failure or error
        assert failure is not None, "a name has at least one candidate"  # noqa: S101
        raise failure

    def home(self, reference: Reference, credentials: Credentials | None = None) -> Remote:
        """The registry of the name itself."""
        return self._reach(find_home(self.load().conf, reference), reference, credentials)

    def read_url(self, url: str, *, deadline_ns: int | None = None) -> bytes:
        """A small document of a Web server that some configuration names; plain HTTP when it says so.

        Raises NotFound and what `RegistryClient` raises.
        """
        return self._clients[url.startswith("http:")].read_url(url, deadline_ns=deadline_ns)

    def check_login(self, key: str, username: str, password: str) -> None:
        """Ask the registry of `key` (a registry, or a repository of it); Unauthenticated when it says no."""
        reference = parse_reference(f"{key}/log-in")
        client = self.home(reference).client
        client.log_in(reference.domain, Credentials(username, password))

    def _open_at(
        self,
        endpoint: Endpoint,
        name: Reference,
        credentials: Credentials | None,
        deadline_ns: int | None,
        passed_over: Sequence[str],
    ) -> Opened:
        remote = self._reach(endpoint, name, credentials)
        fetched = remote.client.resolve(remote.reference, remote.credentials, deadline_ns=deadline_ns)
        return Opened(remote, fetched, tuple(passed_over))

    def _reach(self, endpoint: Endpoint, name: Reference, credentials: Credentials | None) -> Remote:
        if credentials is None or endpoint.reference.domain != name.domain:
            helpers = self.load().conf.credential_helpers
            credentials = find_credentials(endpoint.reference.name, self.places.auth, helpers)
        return Remote(name, endpoint.reference, self._clients[endpoint.insecure], credentials)


def _warn(notices: Sequence[str]) -> None:
    if notices:
        import logging  # a slow import for a command

        for notice in notices:
            logging.getLogger(__name__).warning("%s", notice)


def _explain(passed_over: Sequence[str], hint: str) -> str:
    mirrors = f"mirrors failed, too: {'; '.join(passed_over)}"
    return f"{hint}; {mirrors}" if hint else mirrors


def _stamp_files(places: Places) -> tuple[tuple[str, int, int, int], ...]:
    """Changes when one of the files or drop-in directories does."""
    paths = [places.registries_conf, places.short_name_aliases]
    for directory in places.registries_conf_dirs:
        try:
            paths += [entry.path for entry in os.scandir(directory)]
        except OSError:
            continue
    return tuple(_stamp(path) for path in sorted(paths))


def _stamp(path: str) -> tuple[str, int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return path, 0, 0, 0
    return path, found.st_ino, found.st_size, found.st_mtime_ns
