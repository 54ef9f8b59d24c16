"""GC (CNI SPEC.md §2 "GC"): what is left of pods that are no more, network by network.

    1. attachments of the cache that are ours and not valid → DEL down the chain
    2. GC at every plugin with the attachments that remain: what no cache entry speaks of

Both look under the network's lock, so that nobody attaches meanwhile.
"""

from collections.abc import Callable, Iterable

from rundlet.errors import Error
from rundlet.network.cache import Cache, Entry
from rundlet.network.chain import Chain
from rundlet.spec.cni import NetworkConf


class Collector:
    """`undo` takes the locks that it needs; `failed` is what could not be removed."""

    def __init__(
        self,
        cache: Cache,
        engine: str,
        make_chain: Callable[[NetworkConf], Chain],
        undo: Callable[[Entry], None],
    ) -> None:
        self._cache = cache
        self._engine = engine
        self._make_chain = make_chain
        self._undo = undo
        self.failed: list[Error] = []

    def collect(self, configured: Iterable[NetworkConf], list_pods: Callable[[], Iterable[str]]) -> None:
        """On the configured networks and those that own attachments are on."""
        networks = {network.name: network for network in configured}
        for entry in self._cache.entries():
            if entry.engine == self._engine:
                networks.setdefault(entry.network.name, entry.network)
        for network in networks.values():
            if not network.disable_gc:
                for entry in self._list_stale(network.name, list_pods):
                    self._attempt(self._undo, entry)
                self._attempt(self._collect_rest, network)

    def _list_stale(self, network: str, list_pods: Callable[[], Iterable[str]]) -> list[Entry]:
        with self._cache.lock(network):
            pods = set(list_pods())
            noted = self._list_noted(network)
        own = [entry for entry in noted if entry.engine == self._engine]
        return [
            entry._replace(attachment=entry.attachment._replace(netns_path=""))
            for entry in own
            if entry.attachment.container_id not in pods
        ]

    def _collect_rest(self, network: NetworkConf) -> None:
        """What is noted stays: attachments of others, and own ones whose DEL has failed now."""
        with self._cache.lock(network.name):
            self._cache.sweep(network.name)
            self._make_chain(network).collect(self._cache.owners(network.name))

    def _list_noted(self, network: str) -> list[Entry]:
        return [entry for entry in self._cache.entries() if entry.network.name == network]

    def _attempt(self, action: Callable[..., None], subject: Entry | NetworkConf) -> None:
        try:
            action(subject)
        except Error as error:
            self.failed.append(error)
