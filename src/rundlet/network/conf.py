"""The directory of network configurations: which network pods get.

Files *.conf, *.conflist and *.json in lexical order; the first that is valid is
the network.  One that cannot be read or parsed is skipped and its fault kept
for the status, so that a broken second file does no harm.  The directory is
read again when it has changed.
"""

import os
import threading
from typing import NamedTuple

from rundlet.errors import Error, InvalidArgument
from rundlet.spec.cni import NetworkConf, parse_network_conf

_SUFFIXES = (".conf", ".conflist", ".json")


class Loaded(NamedTuple):
    """`network` None when no file is of use; `faults` are one line each."""

    network: NetworkConf | None
    faults: tuple[str, ...]


_State = tuple[tuple[str, int, int, int], ...]


class ConfDirectory:
    """Thread-safe."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._state: _State | None = None
        self._loaded = Loaded(None, ())

    def load(self) -> Loaded:
        """What the directory says now; a missing directory is an empty one."""
        with self._lock:
            state = self._read_state()
            if state != self._state:
                self._loaded = _load([os.path.join(self.path, name) for name, *_ in state])
                self._state = state
            return self._loaded

    def _read_state(self) -> _State:
        try:
            with os.scandir(self.path) as entries:
                found = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(_SUFFIXES)]
        except OSError:
            return ()
        return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found))


def _load(paths: list[str]) -> Loaded:
    faults = []
    for path in paths:
        try:
            network = _read(path)
        except (Error, OSError) as error:
            faults.append(str(error))
            continue
        # A pod has its loopback anyway: a list of nothing else is not its network.
        if any(plugin.type != "loopback" for plugin in network.plugins):
            return Loaded(network, tuple(faults))
    return Loaded(None, tuple(faults))


def _read(path: str) -> NetworkConf:
    with open(path, "rb") as file:
        network = parse_network_conf(file.read(), path)
    if not network.name:
        raise InvalidArgument(f"{path}: name: a network needs one")
    return network
