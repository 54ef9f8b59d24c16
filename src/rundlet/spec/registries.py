"""registries.conf: which registry answers for a name (containers-registries.conf(5), version 2).

    unqualified-search-registries = ["registry.example"]    where short names are looked for
    short-name-mode = "enforcing"
    credential-helpers = ["containers-auth.json"]

    [[registry]]
    prefix = "example.com/foo"           names that begin so, or "*.example.com"
    location = "internal.example/bar"    are asked for here; the prefix itself when absent
    insecure = false
    blocked = false
    mirror-by-digest-only = false
      [[registry.mirror]]                tried before, in order
      location = "mirror.example/foo"
      insecure = false
      pull-from-mirror = "all"           or "digest-only", "tag-only"
      timeout = "5s"                     rundlet's own: how long this mirror may take to answer

    [aliases]
    "busybox" = "docker.io/library/busybox"

Parsing is strict in types and in the rules of the man page.  Keys that nobody knows are
passed over, as others do with this file, but told as notices.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field
from msgspec.structs import fields, replace

from rundlet.errors import InvalidArgument
from rundlet.spec.json import convert
from rundlet.spec.reference import has_domain, is_registry_host, parse_reference

AUTH_FILE_HELPER = "containers-auth.json"
ShortNameMode = Literal["enforcing", "permissive", "disabled"]
_PREFIX_WILDCARD = "*."
_DURATION_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
# Known to others, without a meaning here.
_PASSED_OVER = frozenset({"additional-layer-store-auth-helper"})


class Mirror(Struct, frozen=True, rename="kebab"):
    """One [[registry.mirror]]; `timeout` is empty or a duration such as "5s"."""

    location: str = ""
    insecure: bool = False
    pull_from_mirror: Literal["", "all", "digest-only", "tag-only"] = ""
    timeout: str = ""

    @property
    def timeout_s(self) -> float | None:
        found = _DURATION.fullmatch(self.timeout)
        return float(found[1]) * _DURATION_UNITS_S[found[2]] if found else None


class Registry(Struct, frozen=True, rename="kebab"):
    """One [[registry]]; after parsing `prefix` is never empty, `location` only beside a wildcard."""

    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirrors: tuple[Mirror, ...] = field(default=(), name="mirror")


class RegistriesConf(NamedTuple):
    """The files of one host, merged; by default what applies where there is none.

    `search` is None when no file says anything about short names.
    """

    registries: tuple[Registry, ...] = ()
    search: tuple[str, ...] | None = None
    short_name_mode: ShortNameMode = "permissive"
    aliases: Mapping[str, str] = {}
    credential_helpers: tuple[str, ...] = (AUTH_FILE_HELPER,)


class RegistriesFile(NamedTuple):
    """What one file says; None is what it leaves to the files before it.

    `notices` name what the file says without effect.
    """

    registries: tuple[Registry, ...] = ()
    search: tuple[str, ...] | None = None
    short_name_mode: ShortNameMode | None = None
    aliases: Mapping[str, str] = {}
    credential_helpers: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()


class _Version2(Struct, frozen=True, rename="kebab"):
    registry: tuple[Registry, ...] = ()
    unqualified_search_registries: tuple[str, ...] | None = None
    credential_helpers: tuple[str, ...] | None = None
    short_name_mode: Literal["", "enforcing", "permissive", "disabled"] = ""
    aliases: dict[str, str] = {}


class _Version1List(Struct, frozen=True, forbid_unknown_fields=True):
    registries: tuple[str, ...] = ()


class _Version1(Struct, frozen=True, forbid_unknown_fields=True):
    search: _Version1List = _Version1List()
    insecure: _Version1List = _Version1List()
    block: _Version1List = _Version1List()


def parse_registries(text: str, what: str, *, drop_in: bool = False) -> RegistriesFile:
    """One file; `what` names it in errors: "FILE: registry[1].mirror[0].location: …".

    The old [registries.search] form is read in the main file only.  Raises InvalidArgument.
    """
    import tomllib  # a slow import

    try:
        table = tomllib.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {error}") from error
    if "registries" in table:
        _check(not drop_in, what, "registries", "a drop-in must be in version 2 of the format")
        _check(len(table) == 1, what, "registries", "versions 1 and 2 of the format are mixed")
        return _from_version_1(convert(table["registries"], _Version1, f"{what}: registries"), what)
    return _from_version_2(convert(table, _Version2, what), tuple(_find_notices(table, what)), what)


def merge_registries(files: Iterable[RegistriesFile]) -> RegistriesConf:
    """All files, later ones winning: a [[registry]] by its prefix, an alias by its name; "" removes one."""
    registries: dict[str, Registry] = {}
    aliases: dict[str, str] = {}
    merged = RegistriesFile()
    for file in files:
        registries |= {registry.prefix: registry for registry in file.registries}
        aliases |= file.aliases
        merged = merged._replace(
            search=merged.search if file.search is None else file.search,
            short_name_mode=file.short_name_mode or merged.short_name_mode,
            credential_helpers=file.credential_helpers or merged.credential_helpers,
        )
    return RegistriesConf(
        registries=tuple(registries[prefix] for prefix in sorted(registries)),
        search=merged.search,
        short_name_mode=merged.short_name_mode or "permissive",
        aliases={name: target for name, target in aliases.items() if target},
        credential_helpers=merged.credential_helpers or (AUTH_FILE_HELPER,),
    )


def _from_version_1(lists: _Version1, what: str) -> RegistriesFile:
    blocked = {_trim(name, what, "registries.block") for name in lists.block.registries}
    insecure = {_trim(name, what, "registries.insecure") for name in lists.insecure.registries}
    registries = [
        Registry(prefix=name, location=name, insecure=name in insecure, blocked=name in blocked)
        for name in sorted(blocked | insecure)
    ]
    search = _check_search(lists.search.registries, what, "registries.search.registries")
    return RegistriesFile(tuple(registries), search)


def _from_version_2(document: _Version2, notices: tuple[str, ...], what: str) -> RegistriesFile:
    listed = [
        _complete(registry, what, f"registry[{index}]") for index, registry in enumerate(document.registry)
    ]
    _check_conflicts(listed, what)
    registries = {registry.prefix: registry for registry in reversed(listed)}  # the first of a prefix counts
    search = document.unqualified_search_registries
    if search is not None:
        search = _check_search(search, what, "unqualified-search-registries")
    for name, target in document.aliases.items():
        _check_alias(name, target, what)
    return RegistriesFile(
        registries=tuple(reversed(registries.values())),
        search=search,
        short_name_mode=document.short_name_mode or None,
        aliases=document.aliases,
        credential_helpers=document.credential_helpers,
        notices=notices,
    )


def _complete(registry: Registry, what: str, path: str) -> Registry:
    """`registry` with its defaults filled in; InvalidArgument when it breaks a rule."""
    location = _trim(registry.location, what, f"{path}.location")
    prefix = _trim(registry.prefix, what, f"{path}.prefix") or location
    _check(prefix, what, path, "neither prefix nor location is set")
    wild = prefix.startswith(_PREFIX_WILDCARD)
    _check(location or wild, what, f"{path}.location", "missing, and the prefix is not like *.example.com")
    _check("*" not in prefix.removeprefix(_PREFIX_WILDCARD), what, f"{path}.prefix", "a misplaced wildcard")
    bare = not wild or not set(prefix) & set("/@:")
    _check(bare, what, f"{path}.prefix", "after a wildcard stands a host name only")
    mirrors = tuple(
        _complete_mirror(mirror, registry, what, f"{path}.mirror[{index}]")
        for index, mirror in enumerate(registry.mirrors)
    )
    return replace(registry, prefix=prefix, location=location, mirrors=mirrors)


def _complete_mirror(mirror: Mirror, registry: Registry, what: str, path: str) -> Mirror:
    location = _trim(mirror.location, what, f"{path}.location")
    _check(location, what, f"{path}.location", "missing")
    once = not (registry.mirror_by_digest_only and mirror.pull_from_mirror)
    _check(once, what, f"{path}.pull-from-mirror", "not beside the registry's mirror-by-digest-only")
    timed = not mirror.timeout or mirror.timeout_s
    _check(timed, what, f"{path}.timeout", f"expected a duration such as 5s, got {mirror.timeout!r}")
    return replace(mirror, location=location)


def _trim(location: str, what: str, path: str) -> str:
    plain = not location.startswith(("http://", "https://"))
    _check(plain, what, path, f"expected a host or a host with a path, got the URL {location!r}")
    return location.rstrip("/")


def _check_conflicts(registries: list[Registry], what: str) -> None:
    """One place may not be safe under one prefix and unsafe under another."""
    first: dict[str, Registry] = {}
    for registry in registries:
        place = registry.location or registry.prefix
        other = first.setdefault(place, registry)
        for name in ("insecure", "blocked"):
            same = getattr(registry, name) == getattr(other, name)
            _check(same, what, "registry", f"{place} is there twice with different {name!r}")


def _check_search(names: tuple[str, ...], what: str, path: str) -> tuple[str, ...]:
    trimmed = tuple(_trim(name, what, f"{path}[{index}]") for index, name in enumerate(names))
    for index, name in enumerate(trimmed):
        _check(is_registry_host(name), what, f"{path}[{index}]", f"expected a host, got {name!r}")
    return trimmed


def _check_alias(name: str, target: str, what: str) -> None:
    path = f"aliases.{name}"
    _check(not has_domain(name), what, path, "a short name has no registry")
    _check_bare(f"docker.io/{name}", what, path)
    if target:
        _check(has_domain(target), what, path, f"expected a name with its registry, got {target!r}")
        _check_bare(target, what, path)


def _check_bare(name: str, what: str, path: str) -> None:
    try:
        reference = parse_reference(name)
    except InvalidArgument as error:
        raise InvalidArgument(f"{what}: {path}: {error.message}") from error
    bare = reference.digest is None and not name.rpartition("/")[2].count(":")
    _check(bare, what, path, "neither a tag nor a digest may stand here")


def _find_notices(table: Mapping[str, Any], what: str) -> Iterator[str]:
    """What stands in the file without effect; types have been checked before."""
    for key in table.keys() - _keys(_Version2):
        reason = "rundlet has no use for it" if key in _PASSED_OVER else "unknown key"
        yield f"{what}: {key}: {reason}"
    for index, registry in enumerate(table.get("registry", ())):
        for key in registry.keys() - _keys(Registry):
            yield f"{what}: registry[{index}].{key}: unknown key"
        for place, mirror in enumerate(registry.get("mirror", ())):
            for key in mirror.keys() - _keys(Mirror):
                yield f"{what}: registry[{index}].mirror[{place}].{key}: unknown key"


def _keys(kind: type[Struct]) -> set[str]:
    return {one.encode_name for one in fields(kind)}


def _check(fine: object, what: str, path: str, reason: str) -> None:
    if not fine:
        raise InvalidArgument(f"{what}: {path}: {reason}")
