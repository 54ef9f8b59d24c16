"""From a name to the places that may have it: short names, rewriting, mirrors.  Pure.

    "busybox"                          what a person wrote
      └▶ docker.io/library/busybox     candidates: by alias, else by each search registry
           └▶ mirror.example/busybox   endpoints: mirrors in order, the registry itself last

The name keeps naming the image; an endpoint is only where its bytes are asked for.
"""

from typing import NamedTuple

from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.spec.reference import Reference, has_domain, parse_reference
from rundlet.spec.registries import Mirror, RegistriesConf, Registry


class Endpoint(NamedTuple):
    """One place to ask: `reference` is what it calls the image.

    `insecure` allows plain HTTP and certificates that do not verify.  `timeout_s` is how long
    its answer about the manifest may take, None where the file says nothing.
    """

    reference: Reference
    insecure: bool = False
    is_mirror: bool = False
    timeout_s: float | None = None


def resolve_name(conf: RegistriesConf, text: str) -> tuple[Reference, ...]:
    """The images that `text` may mean, best first; several only for a short name without alias.

    Where no file names search registries, docker.io is meant, as in Kubernetes.
    Raises InvalidArgument: malformed, ambiguous in mode enforcing, or an empty search list.
    """
    if has_domain(text):
        return (parse_reference(text),)
    short = parse_reference(text)  # completed with docker.io
    alias = conf.aliases.get(shorten_alias(text))
    if alias is not None:
        named = parse_reference(alias)
        return (short._replace(domain=named.domain, path=named.path),)
    if conf.search is None:
        return (short,)
    if not conf.search:
        raise InvalidArgument(
            f"image {text!r}: a short name, and no registry is searched for those",
            hint="name the registry, or set unqualified-search-registries in registries.conf",
        )
    if conf.short_name_mode == "enforcing" and len(conf.search) > 1:
        raise InvalidArgument(
            f"image {text!r}: ambiguous: it may come from {' or '.join(conf.search)}",
            hint="name the registry, or add an alias to registries.conf",
        )
    return tuple(parse_reference(f"{host}/{text}") for host in conf.search)


def list_choices(conf: RegistriesConf, text: str) -> tuple[Reference, ...]:
    """What a person is asked to choose from: the candidates of a short name, in modes enforcing and permissive.

    Empty when there is nothing to ask; errors as `resolve_name`.
    """
    search = conf.search or ()
    settled = has_domain(text) or shorten_alias(text) in conf.aliases or len(search) < 2
    if settled or conf.short_name_mode == "disabled":
        return ()
    return tuple(parse_reference(f"{host}/{text}") for host in search)


def find_endpoints(conf: RegistriesConf, reference: Reference) -> tuple[Endpoint, ...]:
    """Where to pull `reference` from, in the order to try; never empty.

    Raises PermissionDenied when its registry is blocked, InvalidArgument when rewriting
    gives no valid reference.
    """
    registry = find_registry(conf, reference)
    if registry is None:
        return (Endpoint(reference),)
    mirrors = [mirror for mirror in registry.mirrors if _takes_part(mirror, registry, reference)]
    return (
        *(
            Endpoint(
                _rewrite(reference, registry.prefix, mirror.location), mirror.insecure, True, mirror.timeout_s
            )
            for mirror in mirrors
        ),
        Endpoint(_rewrite(reference, registry.prefix, registry.location), registry.insecure),
    )


def find_home(conf: RegistriesConf, reference: Reference) -> Endpoint:
    """Where to push `reference` to, and to list or delete it: its own registry, never rewritten.

    Raises PermissionDenied when the registry is blocked.
    """
    registry = find_registry(conf, reference)
    return Endpoint(reference, registry.insecure if registry else False)


def find_registry(conf: RegistriesConf, reference: Reference) -> Registry | None:
    """The [[registry]] with the longest prefix of `reference`.

    Raises PermissionDenied when it is blocked.
    """
    fitting = [one for one in conf.registries if _match_length(str(reference), one.prefix)]
    found = max(fitting, key=lambda one: len(one.prefix), default=None)
    if found and found.blocked:
        raise PermissionDenied(
            f"image {reference}: registries.conf blocks {found.prefix}",
            hint="blocked = true stands in its [[registry]] table",
        )
    return found


def _match_length(name: str, prefix: str) -> int:
    """How much of `name` the prefix covers, 0 for none; it ends where a component of the name does."""
    length = len(prefix)
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        start = host.find(prefix[1:])
        length = start + len(prefix) - 1 if start > 0 else 0
    elif not name.startswith(prefix):
        return 0
    return length if name[length : length + 1] in ("", "/", ":", "@") else 0


def _takes_part(mirror: Mirror, registry: Registry, reference: Reference) -> bool:
    if registry.mirror_by_digest_only or mirror.pull_from_mirror == "digest-only":
        return reference.digest is not None
    return mirror.pull_from_mirror != "tag-only" or reference.digest is None


def _rewrite(reference: Reference, prefix: str, location: str) -> Reference:
    if not location:  # a wildcard without location changes only the settings
        return reference
    text = f"{location}{str(reference)[_match_length(str(reference), prefix) :]}"
    if not has_domain(text):
        raise InvalidArgument(f"image {reference}: registries.conf sends us to {text!r}, which names no host")
    return parse_reference(text)


def shorten_alias(text: str) -> str:
    """A short name without tag and digest, as aliases have it."""
    bare = text.partition("@")[0]
    head, colon, tag = bare.rpartition(":")
    return head if colon and "/" not in tag else bare
