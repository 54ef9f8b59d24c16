"""What a warm process has imported, and whether it is still what lies in the files."""

import gc
import importlib
import os
import sys
from collections.abc import Iterable

import msgspec
from msgspec import json

import rundlet

_PACKAGE = os.path.dirname(os.path.abspath(rundlet.__file__))


class Loaded:
    """All modules of this process; `names` at the time of the last `load`."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset(sys.modules)
        self._changed_ns: dict[str, int] = {}

    def load(self, names: Iterable[str]) -> None:
        """Import what can be; what cannot, each command tries for itself."""
        for name in names:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - any module's any mistake
                continue
        _prepare_structs()
        for path in _files() - self._changed_ns.keys():
            self._changed_ns[path] = _read_change_ns(path)
        self.names = frozenset(sys.modules)
        gc.collect()
        gc.freeze()  # children that collect garbage do not copy what is here

    def is_outdated(self) -> bool:
        """Whether a file of rundlet was changed, or taken away, since it was imported (0.4 ms)."""
        return any(_read_change_ns(path) != changed_ns for path, changed_ns in self._changed_ns.items())


def _prepare_structs() -> None:
    """Have msgspec find out what each struct is made of, which it does at a struct's first use (10 ms of a `run`)."""
    waiting: list[type[msgspec.Struct]] = [msgspec.Struct]
    while waiting:
        struct = waiting.pop()
        waiting += struct.__subclasses__()
        try:
            json.Decoder(struct)
        except (TypeError, NameError):
            continue  # it is never decoded


def _files() -> set[str]:
    """Those of rundlet that are imported."""
    found = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {path for path in found if path and path.startswith(_PACKAGE)}


def _read_change_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1
