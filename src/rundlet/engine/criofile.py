"""crio.conf → rundlet.toml: what both have is taken over, the rest is listed.  Pure.

    crio.conf                                   rundlet.toml
    crio.api.listen                             socket
    crio.api.stream_*                           stream_*
    crio.runtime.default_runtime, log_level     default_runtime_handler, log_level
    crio.runtime.runtimes.NAME                  runtimes.NAME  (runtime_type oci)
    crio.runtime.cdi_spec_dirs, cgroup_manager  cdi_dirs, cgroup_driver
    crio.network.network_dir, plugin_dirs       cni_conf_dir, cni_bin_dirs
    crio.image.insecure_registries              insecure_registries
    crio.image.global_auth_file                 registry_auth_file
    crio.image.signature_policy, …_dir          signature_policy, signature_policy_dir
    crio.image.image_volumes, pinned_images     image_volumes, pinned_images
    crio.checkpoint_restore.container_level_enabled                 checkpoints
    crio.metrics, crio.tracing                  metrics, tracing  (engine.criotelemetry)

CRI-O's storage has another format, so its root and runroot are not taken over.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rundlet.engine.configfile import Table, format_key, format_value
from rundlet.engine.criotelemetry import KEYS as TELEMETRY_KEYS
from rundlet.engine.criotelemetry import take_telemetry

_LEVELS = {"trace": "debug", "warn": "warning", "fatal": "error", "panic": "error"}
_UNITS_S = {"h": 3600, "m": 60, "s": 1}

Convert = Callable[[Any], object]


class Taken(NamedTuple):
    """`table` is for rundlet.toml; `left` are (dotted key, value) pairs that have no counterpart."""

    table: Table
    left: list[tuple[str, object]]


def _same(value: Any) -> object:
    return value


def _level(value: Any) -> object:
    return _LEVELS.get(value, value)


def _port(value: Any) -> object:
    return int(value)


def _seconds(value: Any) -> object:
    """Go's "1h30m", minutes when it is a bare number."""
    total, digits = 0.0, ""
    for letter in str(value):
        if letter in _UNITS_S:
            total += float(digits) * _UNITS_S[letter]
            digits = ""
        else:
            digits += letter
    return total + (float(digits) * 60 if digits else 0.0)


_KEYS: dict[str, tuple[str, Convert]] = {
    "crio.api.listen": ("socket", _same),
    "crio.api.stream_address": ("stream_address", _same),
    "crio.api.stream_port": ("stream_port", _port),
    "crio.api.stream_tls_cert": ("stream_tls_cert", _same),
    "crio.api.stream_tls_key": ("stream_tls_key", _same),
    "crio.api.stream_idle_timeout": ("stream_idle_timeout_s", _seconds),
    "crio.runtime.default_runtime": ("default_runtime_handler", _same),
    "crio.runtime.log_level": ("log_level", _level),
    "crio.runtime.cdi_spec_dirs": ("cdi_dirs", _same),
    "crio.runtime.cgroup_manager": ("cgroup_driver", _same),
    "crio.network.network_dir": ("cni_conf_dir", _same),
    "crio.network.plugin_dirs": ("cni_bin_dirs", _same),
    "crio.image.insecure_registries": ("insecure_registries", _same),
    "crio.image.global_auth_file": ("registry_auth_file", _same),
    "crio.image.signature_policy": ("signature_policy", _same),
    "crio.image.signature_policy_dir": ("signature_policy_dir", _same),
    "crio.image.image_volumes": ("image_volumes", _same),
    "crio.checkpoint_restore.container_level_enabled": ("checkpoints", _same),
    "crio.image.pinned_images": ("pinned_images", _same),
}
_RUNTIMES = "crio.runtime.runtimes."
_RUNTIME_KEYS: dict[str, tuple[str, Convert]] = {
    "runtime_path": ("path", _same),
    "runtime_root": ("root", _same),
    "default_annotations": ("default_annotations", _same),
    "container_create_timeout": ("timeout_s", _same),
}


def take_crio(table: Table) -> Taken:
    """The part of a parsed crio.conf that rundlet has, too; values that say nothing are left out."""
    taken: Table = {}
    left: list[tuple[str, object]] = []
    for key, value in _flatten(table, ""):
        if key.startswith(_RUNTIMES):
            name, _, field = key.removeprefix(_RUNTIMES).rpartition(".")
            place = taken.setdefault("runtimes", {}).setdefault(name, {})
            known, own_key = _RUNTIME_KEYS.get(field), field
        else:
            place, known, own_key = taken, _KEYS.get(key), key
        if value in ("", [], {}) or key in TELEMETRY_KEYS:
            continue
        if known is not None:
            place[known[0]] = known[1](value)
        elif own_key != "runtime_type" or value != "oci":
            left.append((key, value))
    return Taken({**_without_strange_runtimes(taken, left), **take_telemetry(table)}, left)


def _without_strange_runtimes(taken: Table, left: list[tuple[str, object]]) -> Table:
    """A runtime of type vm or pod has no counterpart, whatever else is said of it."""
    strange = {
        key.removeprefix(_RUNTIMES).rpartition(".")[0] for key, _ in left if key.endswith(".runtime_type")
    }
    runtimes = {name: one for name, one in taken.get("runtimes", {}).items() if name not in strange}
    return (
        {**taken, "runtimes": runtimes} if runtimes else {k: v for k, v in taken.items() if k != "runtimes"}
    )


def _flatten(table: Table, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys; the annotations of a runtime stay a table."""
    for key, value in table.items():
        if isinstance(value, dict) and key != "default_annotations":
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def format_taken(taken: Taken, source: str) -> str:
    """A rundlet.toml with a comment for each key that was left."""
    lines = [f"# From {source}."]
    lines += [f"{key} = {format_value(value)}" for key, value in taken.table.items() if key != "runtimes"]
    for name, one in taken.table.get("runtimes", {}).items():
        lines += ["", f"[runtimes.{format_key(name)}]"]
        lines += [f"{key} = {format_value(value)}" for key, value in one.items()]
    if taken.left:
        lines += ["", "# These have no counterpart:"]
        lines += [f"#   {key} = {format_value(value)}" for key, value in taken.left]
    return "\n".join(lines) + "\n"
