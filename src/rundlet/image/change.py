"""What to change in an image, as values: its configuration, annotations, layers, history.

Pure.  Documents are edited as JSON, so that members that we do not know stay.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.image.packing import PackedLayer
from rundlet.spec import mediatype

_LAYER_TYPES: Final = {
    mediatype.OCI_MANIFEST: mediatype.OCI_LAYER_GZIP,
    mediatype.DOCKER_MANIFEST: mediatype.DOCKER_LAYER_GZIP,
}
# umoci's names of what --clear empties: where it is in the config document.
CLEARABLE: Final = {
    "config.labels": ("config", "Labels"),
    "config.env": ("config", "Env"),
    "config.entrypoint": ("config", "Entrypoint"),
    "config.cmd": ("config", "Cmd"),
    "config.volume": ("config", "Volumes"),
    "config.exposedports": ("config", "ExposedPorts"),
    "rootfs.diffids": ("rootfs", "diff_ids"),
    "history": ("", "history"),
    "manifest.annotations": ("", ""),
}


class HistoryEntry(NamedTuple):
    """One line of the image's history."""

    created: str
    created_by: str = ""
    author: str = ""
    comment: str = ""


class Change(NamedTuple):
    """`None` and empty leave things as they are; lists replace, mappings and `env` (NAME=VALUE) add.

    `clear` are keys of CLEARABLE, emptied before anything is set; `fields` are members of the
    configuration document itself (created, author, architecture, os).
    """

    user: str | None = None
    working_dir: str | None = None
    stop_signal: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    fields: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    clear: tuple[str, ...] = ()
    history: HistoryEntry | None = None


def format_time(seconds: int) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def apply_to_config(
    document: dict[str, Any], change: Change, layers: tuple[PackedLayer, ...]
) -> dict[str, Any]:
    """The image configuration after the change, with the diff ids of `layers` on top."""
    done = {**document, "config": dict(document.get("config") or {})}
    done["rootfs"] = {"type": "layers", "diff_ids": [], **(document.get("rootfs") or {})}
    for name in change.clear:
        _clear(done, name)
    done |= change.fields
    _apply_execution(done["config"], change)
    done["rootfs"]["diff_ids"] = [*done["rootfs"]["diff_ids"], *(str(layer.diff_id) for layer in layers)]
    if change.history:
        entry = {key: value for key, value in change.history._asdict().items() if value}
        entries = [entry] * len(layers) or [{**entry, "empty_layer": True}]
        done["history"] = [*(done.get("history") or ()), *entries]
    return done


def apply_to_manifest(
    document: dict[str, Any],
    media_type: str,
    change: Change,
    config: dict[str, Any],
    layers: tuple[PackedLayer, ...],
) -> dict[str, Any]:
    """The manifest after the change; `config` is the descriptor of the new configuration."""
    kind = _LAYER_TYPES.get(media_type)
    if kind is None:
        raise InvalidArgument(f"a manifest of type {media_type!r} cannot be changed")
    old = [] if "rootfs.diffids" in change.clear else document.get("layers") or []
    new = [{"mediaType": kind, "digest": str(layer.digest), "size": layer.size_bytes} for layer in layers]
    annotations = {} if "manifest.annotations" in change.clear else document.get("annotations") or {}
    done = {**document, "mediaType": media_type, "config": config, "layers": [*old, *new]}
    done.pop("annotations", None)
    annotations = {**annotations, **change.annotations}
    return {**done, "annotations": annotations} if annotations else done


def _clear(document: dict[str, Any], name: str) -> None:
    if name not in CLEARABLE:
        raise InvalidArgument(f"cannot clear {name!r}", hint=f"what can be: {', '.join(CLEARABLE)}")
    table, key = CLEARABLE[name]
    place = document[table] if table else document
    if key == "diff_ids":
        place[key] = []
    elif key:
        place.pop(key, None)


def _apply_execution(config: dict[str, Any], change: Change) -> None:
    given = {
        "User": change.user,
        "WorkingDir": change.working_dir,
        "StopSignal": change.stop_signal,
        "Entrypoint": change.entrypoint,
        "Cmd": change.cmd,
    }
    config.update({key: value for key, value in given.items() if value is not None})
    for key, names in (("Volumes", change.volumes), ("ExposedPorts", change.exposed_ports)):
        if names:
            config[key] = {**(config.get(key) or {}), **{name: {} for name in names}}
    if change.labels:
        config["Labels"] = {**(config.get("Labels") or {}), **change.labels}
    if change.env:
        config["Env"] = _merge_env(config.get("Env") or [], change.env)


def _merge_env(old: list[str], new: tuple[str, ...]) -> list[str]:
    """A variable that is there gets the new value in its place."""
    values = {entry.partition("=")[0]: entry for entry in old}
    for entry in new:
        name, equals, _ = entry.partition("=")
        if not name or not equals:
            raise InvalidArgument(f"environment variable {entry!r}: expected NAME=VALUE")
        values[name] = entry
    return list(values.values())
