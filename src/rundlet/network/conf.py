"""The directory of network configurations: which network pods get.

    10-net.conflist, 20-other.conf, …     *.conf, *.conflist and *.json in lexical order
    net/*.conf                            further plugins of the list called "net", unless it says
                                          loadOnlyInlinedPlugins

The first that is valid is the network, and the others can be asked for by name.
One that cannot be read or parsed is skipped and its fault kept for the status,
so that a broken second file does no harm.

Every look takes the state of all files (30 µs for two) and reads them again when
it has changed: nothing runs while nobody asks, and no change is missed, as one
could be that inotify(7) has not delivered yet.
"""

import os
import threading
import time
from typing import NamedTuple

from rundlet.errors import Error, InvalidArgument
from rundlet.spec.cni import NetworkConf, parse_network_conf

_SUFFIXES = (".conf", ".conflist", ".json")


# Two writes within one tick of the file system's clock leave one time stamp: what is younger is
# read once more.
_YOUNG_NS = 50_000_000


class Loaded(NamedTuple):
    """`network` None when no file is of use; `others` are behind it; `faults` are one line each."""

    network: NetworkConf | None
    faults: tuple[str, ...]
    others: tuple[NetworkConf, ...] = ()

    def networks(self) -> tuple[NetworkConf, ...]:
        return ((self.network,) if self.network else ()) + self.others


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
            state = _read_state(self.path)
            if state != self._state:
                self._loaded = _load(self.path)
                old = time.time_ns() - _YOUNG_NS
                self._state = state if all(changed < old for _, changed, _, _ in state) else None
            return self._loaded


def _read_state(path: str, depth: int = 1) -> _State:
    """Name, time of the last change, size and inode of each file, also of those one level down."""
    found: list[tuple[str, int, int, int]] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                stat = entry.stat()
                if entry.is_dir():
                    found += _read_state(entry.path, depth - 1) if depth else ()
                found.append((entry.path, stat.st_ctime_ns, stat.st_size, stat.st_ino))
    except OSError:
        return ()
    return tuple(sorted(found))


def _load(directory: str) -> Loaded:
    faults = []
    networks = []
    for path in _list(directory, _SUFFIXES):
        try:
            network = _read(path)
        except (Error, OSError) as error:
            faults.append(str(error))
            continue
        # A pod has its loopback anyway: a list of nothing else is not its network.
        if any(plugin.type != "loopback" for plugin in network.plugins):
            networks.append(network)
    return Loaded(networks[0] if networks else None, tuple(faults), tuple(networks[1:]))


def _read(path: str) -> NetworkConf:
    directory = os.path.dirname(path)
    network = parse_network_conf(
        _read_bytes(path), path, list_files=lambda name: _read_plugins(os.path.join(directory, name))
    )
    if not network.name:
        raise InvalidArgument(f"{path}: name: a network needs one")
    return network


def _read_plugins(directory: str) -> list[tuple[str, bytes]]:
    return [(path, _read_bytes(path)) for path in _list(directory, (".conf",))]


def _list(directory: str, suffixes: tuple[str, ...]) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    paths = (os.path.join(directory, name) for name in names if name.endswith(suffixes))
    return [path for path in paths if not os.path.isdir(path)]


def _read_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
