"""Runtime handlers: which program makes a pod's containers, chosen by RuntimeClass.

`rundlet` is built in.  runc, crun, runsc and bwrap are offered when their program is
installed; `[runtimes.NAME]` of the configuration adds others, or changes these.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from rundlet.engine.idmap import Abilities, can_map_users, read_abilities, uses_idmap
from rundlet.engine.settings import USUAL_RUNTIMES, RuntimeSettings, Settings
from rundlet.errors import InvalidArgument
from rundlet.spec.json import convert, decode, encode

BUILTIN = "rundlet"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FEATURES_TIMEOUT_S = 5.0
# mount_setattr(2) with AT_RECURSIVE, which recursive read-only mounts need.
_RECURSIVE_READONLY_SINCE = (5, 12)

_log = logging.getLogger(__name__)


class Features(NamedTuple):
    """What a CRI client may ask of a handler (features.md of the runtime-spec, and the kernel)."""

    recursive_readonly_mounts: bool = False
    user_namespaces: bool = False


class Handler(NamedTuple):
    """`path` is absolute, empty when built in; `root` is where it keeps its state."""

    name: str
    type: Literal["builtin", "oci", "bwrap"]
    path: str = ""
    root: str = ""
    args: tuple[str, ...] = ()
    own_sandbox: bool = False
    default_annotations: Mapping[str, str] = {}
    timeout_s: float = 60.0


class Handlers:
    """The handlers of one engine; `reload` may come while others look."""

    def __init__(self, settings: Settings) -> None:
        self._cache = f"{settings.root}/features.json"
        self._layer_roots = (settings.imagestore or settings.root, *settings.additional_image_stores)
        self._userns_rootfs = settings.userns_rootfs
        self._abilities: Abilities | None = None
        self._features: dict[str, Features] = {}
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Take other settings; on InvalidArgument the old ones stay."""
        table = {name: _make(name, one, settings) for name, one in choose_runtimes(settings).items()}
        if settings.default_runtime_handler not in table:
            raise InvalidArgument(
                f"default_runtime_handler: no runtime is named {settings.default_runtime_handler!r}",
                hint=f"there are {', '.join(table)}",
            )
        self._default = settings.default_runtime_handler
        self._table = table

    def find(self, name: str) -> Handler:
        """The handler of that name, the default one for ""; InvalidArgument names those that exist."""
        handler = self._table.get(name or self._default)
        if handler is None:
            raise InvalidArgument(
                f"runtime_handler: no runtime is named {name!r}", hint=f"there are {', '.join(self._table)}"
            )
        return handler

    def list(self) -> list[tuple[str, Handler]]:
        """All by the name that a pod may use; "" is the default one."""
        return [("", self._table[self._default]), *self._table.items()]

    def read_features(self, handler: Handler) -> Features:
        """What it can do; a program is asked once, and again when it has changed."""
        if handler.type == "bwrap":
            return Features(recursive_readonly_mounts=_kernel_version() >= _RECURSIVE_READONLY_SINCE)
        found = self._features.get(handler.path)
        if found is None:
            ask = self._examine_kernel if handler.type == "builtin" else self._look_up
            found = self._features[handler.path] = ask(handler)
        return found

    def can_map_users(self, handler: Handler) -> bool:
        """Whether pods with a user namespace may use it."""
        return self.read_features(handler).user_namespaces

    def _examine_kernel(self, _: Handler) -> Features:
        """What the built-in runtime can do depends on the kernel, and on the file system of the layers."""
        users = can_map_users(self._userns_rootfs, self._read_abilities())
        return Features(_kernel_version() >= _RECURSIVE_READONLY_SINCE, users)

    def uses_idmap(self) -> bool:
        """Whether the built-in runtime shows layers through the mapping of a user namespace."""
        return uses_idmap(self._userns_rootfs, self._read_abilities())

    def _read_abilities(self) -> Abilities:
        if self._abilities is None:
            self._abilities = read_abilities(self._layer_roots, _kernel_version())
        return self._abilities

    def _look_up(self, handler: Handler) -> Features:
        """From the cache file, where the answer stands beside the program's time of change."""
        kept = _read_cache(self._cache)
        stamp = _stamp(handler.path)
        entry = kept.get(handler.path)
        if entry is None or entry.get("stamp") != stamp:
            entry = {"stamp": stamp, "features": _ask_features(handler)}
            _write_cache(self._cache, {**kept, handler.path: entry})
        return _judge_features(entry["features"])


def choose_runtimes(settings: Settings) -> dict[str, RuntimeSettings]:
    """The built-in one, the usual ones that are installed, those of the configuration."""
    found = {BUILTIN: RuntimeSettings(type="builtin")}
    for name, usual in USUAL_RUNTIMES.items():
        path = _find_program(name)
        if path and name not in settings.runtimes:
            found[name] = replace(usual, path=path)
    return {**found, **settings.runtimes}


def _make(name: str, one: RuntimeSettings, settings: Settings) -> Handler:
    if one.type == "builtin":
        return Handler(name, "builtin", default_annotations=one.default_annotations)
    path = _find_program(one.path or name)
    if not path:
        raise InvalidArgument(
            f"runtimes.{name}.path: there is no program {one.path or name!r}",
            hint=f"it is looked for in {_SYSTEM_PATH}",
        )
    root = one.root or f"{settings.run_root}/runtimes/{name}"
    return Handler(
        name, one.type, path, root, one.args, one.own_sandbox, one.default_annotations, one.timeout_s
    )


def _find_program(name: str) -> str:
    """An absolute path; empty when there is none that can be executed."""
    return shutil.which(name, path=_SYSTEM_PATH) or ""


def _kernel_version() -> tuple[int, int]:
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int(minor.partition("-")[0])


# -- features ---------------------------------------------------------------------


def _ask_features(handler: Handler) -> dict[str, Any]:
    """The document that `RUNTIME features` prints; empty when it knows no such verb."""
    try:
        done = subprocess.run(
            [handler.path, "features"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_FEATURES_TIMEOUT_S,
            check=True,
            env={"PATH": _SYSTEM_PATH},
        )
        return convert(decode(done.stdout, dict, f"{handler.path} features"), dict[str, Any], "features")
    except (OSError, subprocess.SubprocessError, InvalidArgument) as error:
        _log.debug("runtime %s tells no features: %s", handler.name, error)
        return {}


def _judge_features(document: dict[str, Any]) -> Features:
    """User namespaces of pods are not made yet, whatever the runtime could do with them."""
    options = document.get("mountOptions")
    readonly = isinstance(options, list) and "rro" in options
    return Features(recursive_readonly_mounts=readonly and _kernel_version() >= _RECURSIVE_READONLY_SINCE)


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_mtime_ns}-{found.st_size}"


def _read_cache(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return decode(file.read(), dict[str, Any], path)
    except (OSError, InvalidArgument):
        return {}  # nothing is lost but time


def _write_cache(path: str, table: dict[str, Any]) -> None:
    fresh = f"{path}.{os.getpid()}"
    try:
        with open(fresh, "wb") as file:
            file.write(encode(table))
        os.rename(fresh, path)
    except OSError as error:
        _log.debug("cannot keep the features of runtimes in %s: %s", path, error)
