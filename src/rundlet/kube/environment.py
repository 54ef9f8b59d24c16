"""A container's variables: `env`, `envFrom`, `valueFrom`, and $(NAME) in what it is given."""

import math
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from rundlet.errors import InvalidArgument, NotFound
from rundlet.kube.model import Container, EnvVar, FieldRef, KeyRef, Meta, ResourceRef, SourceRef
from rundlet.kube.quantity import parse_quantity

_REFERENCE = re.compile(r"\$\$|\$\((?P<name>[A-Za-z_.-][\w.-]*)\)")
_MEMBER = re.compile(r"metadata\.(?P<map>labels|annotations)\['(?P<key>[^']+)'\]")
_MEASURED = ("cpu", "memory")


class Sources(NamedTuple):
    """Values by the name of their ConfigMap or Secret, then by key."""

    config_maps: Mapping[str, Mapping[str, bytes]]
    secrets: Mapping[str, Mapping[str, bytes]]


class PodView(NamedTuple):
    """What a pod can learn of itself (`fieldRef`)."""

    meta: Meta
    ip: str = ""
    host_ip: str = ""
    service_account: str = ""


def plan_env(container: Container, sources: Sources, view: PodView, what: str) -> tuple[tuple[str, str], ...]:
    """In order; a later one of a name counts.  Raises NotFound for a reference to what is not there."""
    found: dict[str, str] = {}
    for number, source in enumerate(container.env_from):
        where = f"{what}.envFrom[{number}]"
        values = _find_all(source.config_map_ref, sources.config_maps, "ConfigMap", where)
        values |= _find_all(source.secret_ref, sources.secrets, "Secret", where)
        found |= {source.prefix + key: _text(value, where) for key, value in values.items()}
    for number, variable in enumerate(container.env):
        value = _read_value(variable, container, sources, view, f"{what}.env[{number}]")
        if value is not None:
            found[variable.name] = expand(value, found)
    return tuple(found.items())


def expand(text: str, values: Mapping[str, str]) -> str:
    """$(NAME) by its value, left as it is where there is none; $$ is one dollar."""
    return _REFERENCE.sub(
        lambda match: "$" if match[0] == "$$" else values.get(match["name"], match[0]), text
    )


def _read_value(
    variable: EnvVar, container: Container, sources: Sources, view: PodView, what: str
) -> str | None:
    """None for an optional reference to what is not there."""
    origin = variable.value_from
    if origin is None:
        value = variable.value
        return str(value).lower() if isinstance(value, bool) else str(value)
    if origin.config_map_key_ref:
        return _find_one(origin.config_map_key_ref, sources.config_maps, "ConfigMap", what)
    if origin.secret_key_ref:
        return _find_one(origin.secret_key_ref, sources.secrets, "Secret", what)
    if origin.field_ref:
        return read_field(origin.field_ref, view, what)
    if origin.resource_field_ref:
        return _read_resource(origin.resource_field_ref, container, what)
    raise InvalidArgument(f"{what}.valueFrom: says nothing of where the value is from")


def _find_all(
    ref: SourceRef | None, known: Mapping[str, Mapping[str, bytes]], kind: str, what: str
) -> dict[str, bytes]:
    if ref is None:
        return {}
    if ref.name not in known:
        if ref.optional:
            return {}
        raise _missing(f"{what}: there is no {kind} {ref.name}", kind)
    return dict(known[ref.name])


def _find_one(ref: KeyRef, known: Mapping[str, Mapping[str, bytes]], kind: str, what: str) -> str | None:
    values = known.get(ref.name)
    if values is not None and ref.key in values:
        return _text(values[ref.key], what)
    if ref.optional:
        return None
    if values is None:
        raise _missing(f"{what}: there is no {kind} {ref.name}", kind)
    raise NotFound(f"{what}: {kind} {ref.name} has no key {ref.key}")


def _missing(message: str, kind: str) -> NotFound:
    hint = "put it into the file" + (", or name its file with --configmap" if kind == "ConfigMap" else "")
    return NotFound(message, hint=hint)


def _text(value: bytes, what: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{what}: the value is no text and cannot be a variable") from error
    if "\0" in text:
        raise InvalidArgument(f"{what}: the value has a zero byte and cannot be a variable")
    return text


def read_field(ref: FieldRef, view: PodView, what: str) -> str:
    """Raises InvalidArgument for a path that nothing is known of."""
    meta = view.meta
    known = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace or "default",
        "metadata.uid": meta.uid,
        "spec.nodeName": os.uname().nodename,
        "spec.serviceAccountName": view.service_account or "default",
        "status.podIP": view.ip,
        "status.hostIP": view.host_ip,
    }
    if ref.field_path in known:
        return known[ref.field_path]
    member = _MEMBER.fullmatch(ref.field_path)
    if member is None:
        raise InvalidArgument(
            f"{what}.valueFrom.fieldRef.fieldPath: {ref.field_path!r} is not known here",
            hint=f"there are {', '.join(known)}",
        )
    return (meta.labels if member["map"] == "labels" else meta.annotations).get(member["key"], "")


def _read_resource(ref: ResourceRef, container: Container, what: str) -> str:
    kind, _, name = ref.resource.partition(".")
    if kind not in ("limits", "requests") or name not in _MEASURED:
        raise InvalidArgument(f"{what}.valueFrom.resourceFieldRef: {ref.resource!r} is not known here")
    resources = container.resources
    given = (resources.requests if kind == "requests" else {}) or resources.limits
    value = given.get(name)
    if value is None:
        value = (os.cpu_count() or 1) if name == "cpu" else _memory_bytes()
    divisor = parse_quantity(ref.divisor, what) or 1
    return str(math.ceil(parse_quantity(value, what) / divisor))


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
