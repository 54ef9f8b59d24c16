"""rundlet.toml: read, merged, checked, printed.

    /etc/rundlet/rundlet.toml             the file, or the one that --config names
    /etc/rundlet/rundlet.toml.d/*.toml    drop-ins, in the order of their names; the later one wins

A table in a drop-in is merged into the table of that name, anything else replaces what was
there.  A key that rundlet does not know is refused with the file's path: a misspelt limit
must not be a limit that is not there.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from rundlet.engine.settings import USUAL_RUNTIMES, RuntimeSettings, Settings, check_settings
from rundlet.engine.telemetry import METRICS_NOTES, TRACING_NOTES
from rundlet.errors import InvalidArgument, NotFound
from rundlet.kernel.failure import translate_os_error
from rundlet.spec.json import convert

DEFAULT_FILE = "/etc/rundlet/rundlet.toml"
Table = dict[str, Any]

# What each key means, in the order in which it is printed.
NOTES = {
    "root": "Images, layers and records: survives a reboot.",
    "run_root": "Sockets, pod files, bundles: does not survive a reboot.",
    "imagestore": "Where layers and blobs are kept, on another file system perhaps; empty: under root.",
    "additional_image_stores": "Roots of stores that are only read: their images are here without a copy.",
    "pinned_images": "Images that are not pruned: names, 'prefix*' or '*word*'.",
    "socket": "The unix socket that CRI is served on.",
    "log_level": "debug, info, warning or error; SIGHUP reads it again.",
    "cni_conf_dir": "CNI network configurations; the first by name is used.",
    "cni_bin_dirs": "Where CNI plugins are looked for.",
    "cni_cache_dir": "Kept CNI results and host-local's leases.",
    "networks_dir": "Networks of `rundlet network`; never those of a kubelet's pods.",
    "cni_builtin": "Plugins that are done without their program; empty: none.",
    "cdi_dirs": "Where CDI specifications of devices are looked for; the later directory wins.",
    "insecure_registries": "Hosts (host or host:port) that are spoken to by plain HTTP.",
    "registry_min_rate": "Bytes a second: a registry that brings fewer for 30 s counts as broken off; 0: never.",
    "registry_certs_dir": "Certificates of registries, a directory per host; empty: /etc/containers/certs.d.",
    "registry_auth_file": "Credentials for registries, an auth.json; empty: the usual ones.",
    "registries_conf": "Mirrors, rewritten, blocked and insecure registries; empty: /etc/containers/registries.conf.",
    "registries_d": "Where signatures are kept; empty: /etc/containers/registries.d.",
    "signature_policy": "The policy.json that every pull must satisfy; empty: /etc/containers/policy.json.",
    "signature_policy_dir": "Policies of namespaces, NAMESPACE.json each; they win over signature_policy.",
    "default_runtime_handler": "The handler of pods that name none.",
    "cgroup_driver": "cgroupfs or systemd: what kubelet is told, and who makes groups of pods that name no parent.",
    "default_cgroup_parent": "Where pods go whose caller names no cgroup.",
    "shm_size_bytes": "Size of a pod's /dev/shm.",
    "image_volumes": "The VOLUMEs of images: mkdir (in the container's layer), bind (a directory beside it) or ignore.",
    "userns_rootfs": "Root file systems in user namespaces: idmap, metacopy, copy (of the layers), auto: the first that works.",
    "checkpoints": "checkpoint_only, checkpoint_restore (containers may be made from checkpoints, too) or none.",
    "exec_output_limit_bytes": "How much of each stream ExecSync keeps.",
    "stream_address": "Where exec, attach and port-forward are served: the address in the URLs that CRI gives out.",
    "stream_port": "Port of the same; 0: any free one.",
    "stream_tls_cert": "Certificate (PEM) to serve them by TLS; empty: plain HTTP.",
    "stream_tls_key": "The certificate's key (PEM).",
    "stream_idle_timeout_s": "How long a stream may lie still.",
    "metrics": "Numbers for Prometheus.",
    "tracing": "Spans for OpenTelemetry.",
    "runtimes": "Runtime handlers, by the name that a RuntimeClass uses; SIGHUP reads them again.",
}
RUNTIME_NOTES = {
    "type": "builtin, oci (any program with runc's command line) or bwrap.",
    "path": "The program: absolute, or a name looked up in PATH; empty: the handler's name.",
    "root": "Where the runtime keeps its state; empty: a directory under run_root.",
    "args": "Options that the program gets before the verb.",
    "own_sandbox": "Each container is announced as a sandbox of its own (gVisor).",
    "default_annotations": "Annotations of every container, unless the pod or container has them.",
    "timeout_s": "How long creating or starting a container may take.",
}
# Tables with keys of their own.
SECTIONS = {"metrics": METRICS_NOTES, "tracing": TRACING_NOTES}


def load_settings(path: str = "", given: Mapping[str, object] | None = None) -> Settings:
    """Settings of the file and its drop-ins, then what is `given` and not empty.

    An empty `path` means the usual file, which need not exist.  Raises NotFound for
    a named file that is missing, InvalidArgument "FILE: key: …" for what is wrong.
    """
    table: Table = {}
    for file in list_files(path):
        fresh = read_table(file)
        check_table(fresh, file)
        table = merge_tables(table, fresh)
    settings = to_settings(table, path or DEFAULT_FILE)
    known = {key: value for key, value in (given or {}).items() if value not in (None, "", ())}
    settings = convert({**asdict(settings), **known}, Settings, "options")
    check_settings(settings)
    return settings


def list_files(path: str) -> list[str]:
    """The file and its drop-ins, as far as they are there; NotFound for a named one that is not."""
    file = path or DEFAULT_FILE
    found = [file] if os.path.exists(file) else []
    if path and not found:
        raise NotFound(f"no configuration file at {path}")
    try:
        names = sorted(os.listdir(f"{file}.d"))
    except (FileNotFoundError, NotADirectoryError):
        return found
    return found + [f"{file}.d/{name}" for name in names if name.endswith(".toml")]


def read_table(path: str) -> Table:
    """A TOML file; InvalidArgument with the line, NotFound, PermissionDenied."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise translate_os_error(error, f"cannot read {path}", InvalidArgument) from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidArgument(f"cannot read {path}: {error}") from error


def check_table(table: Table, path: str) -> None:
    """Raises InvalidArgument "FILE: runtimes.runc.pth: unknown key" and the like for one file alone."""
    _check_keys(table, NOTES, f"{path}: ")
    for name, notes in SECTIONS.items():
        section = table.get(name, {})
        if isinstance(section, dict):
            _check_keys(section, notes, f"{path}: {name}.")
    to_settings(table, path)


def to_settings(table: Table, path: str) -> Settings:
    """Values, typed; the path of a wrong one is complete, also inside of `runtimes`."""
    plain = {key: value for key, value in table.items() if key != "runtimes"}
    runtimes = table.get("runtimes", {})
    if not isinstance(runtimes, dict):
        raise InvalidArgument(f"{path}: runtimes: expected tables [runtimes.NAME], got {runtimes!r}")
    found = {}
    for name, fields_of_one in runtimes.items():
        where = f"runtimes.{name}"
        if not isinstance(fields_of_one, dict):
            raise InvalidArgument(f"{path}: {where}: expected a table, got {fields_of_one!r}")
        _check_keys(fields_of_one, RUNTIME_NOTES, f"{path}: {where}.")
        found[name] = _convert_runtime(fields_of_one, path, where)
    return replace(convert(plain, Settings, path), runtimes=found)


def _convert_runtime(table: Table, path: str, where: str) -> RuntimeSettings:
    try:
        usual = USUAL_RUNTIMES.get(where.removeprefix("runtimes."), RuntimeSettings())
        return convert({**asdict(usual), **table}, RuntimeSettings, "")
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {where}.{error.message.removeprefix(': ')}") from error


def _check_keys(table: Table, known: Mapping[str, str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InvalidArgument(f"{where}{key}: unknown key", hint=f"known are {', '.join(known)}")


def merge_tables(below: Table, above: Table) -> Table:
    """Tables are merged, everything else of `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge_tables(old, value) if both else value  # type: ignore[arg-type]
    return merged


# -- printing -------------------------------------------------------------------


def format_settings(settings: Settings, runtimes: Mapping[str, RuntimeSettings]) -> str:
    """The whole file, each key with what it means; `runtimes` are the handlers there are."""
    lines = []
    for name, note in NOTES.items():
        lines += [f"# {note}"]
        if name in SECTIONS:
            lines += _format_section(name, getattr(settings, name))
        elif name != "runtimes":
            lines += [f"{name} = {format_value(getattr(settings, name))}", ""]
    lines += [f"#   {name:<20} {note}" for name, note in RUNTIME_NOTES.items()]
    for name, runtime in runtimes.items():
        lines += ["", f"[runtimes.{format_key(name)}]", *_format_runtime(runtime)]
    return "\n".join(lines) + "\n"


def _format_section(name: str, section: Struct) -> list[str]:
    lines = [f"[{name}]"]
    for key, note in SECTIONS[name].items():
        lines += [f"# {note}", f"{key} = {format_value(getattr(section, key))}"]
    return [*lines, ""]


def _format_runtime(runtime: RuntimeSettings) -> list[str]:
    names = ("type", "default_annotations") if runtime.type == "builtin" else RUNTIME_NOTES
    return [f"{name} = {format_value(getattr(runtime, name))}" for name in names]


def format_key(key: str) -> str:
    """A bare key where TOML allows it."""
    bare = key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key)
    return key if bare else _quote(key)


def format_value(value: object) -> str:
    """A TOML value: strings, numbers, booleans, arrays and inline tables."""
    if isinstance(value, Mapping):
        pairs = (f"{format_key(key)} = {format_value(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(format_value, value))}]"
    return _quote(value) if isinstance(value, str) else json.dumps(value)


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
