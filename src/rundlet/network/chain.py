"""A network's plugins in their order: ADD down the chain, DEL back up, GC at each (CNI SPEC.md §3)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from rundlet.errors import Error, Internal
from rundlet.network.call import VALID_ATTACHMENTS, Attachment, Builtin, Call, Owner, Plugin
from rundlet.spec import cni
from rundlet.spec.cni import NetworkConf, Result
from rundlet.step import step

FindPlugin = Callable[[str], Plugin]
Lock = Callable[[], AbstractContextManager[None]]

# Older DEL has no prevResult, and there is no CHECK; older programs know no STATUS and no GC.
_CHECK_SINCE = cni.VERSIONS.index("0.4.0")
_STATUS_SINCE = cni.VERSIONS.index("1.1.0")


class Chain:
    """The plugins of one network; `find_plugin` says who does the work of a type."""

    def __init__(self, network: NetworkConf, find_plugin: FindPlugin, lock: Lock) -> None:
        self._network = network
        self._find_plugin = find_plugin
        self._lock = lock

    def add(self, attachment: Attachment) -> Result:
        """Each plugin in turn, the former's result handed on; stops at the first error and undoes nothing."""
        result = None
        for plugin in self._network.plugins:
            with step(f"network.add.{plugin.type}", attachment.container_id):
                result = self._find_plugin(plugin.type).add(self._call(plugin, attachment, result))
        if result is None:
            raise Internal(f"network {self._network.name}: no plugins")
        return result

    def delete(self, attachment: Attachment, result: Result | None) -> None:
        """Every plugin, last first, whatever the others say; then the first error."""
        failed: list[Error] = []
        previous = result if self._has_check() else None
        for plugin in reversed(self._network.plugins):
            try:
                with step(f"network.delete.{plugin.type}", attachment.container_id):
                    self._find_plugin(plugin.type).delete(self._call(plugin, attachment, previous))
            except Error as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def check(self, attachment: Attachment, result: Result | None) -> None:
        """Does all that ADD made still stand?  Nothing to ask before 0.4.0 or with disableCheck."""
        if self._network.disable_check or not self._has_check():
            return
        for plugin in self._network.plugins:
            self._find_plugin(plugin.type).check(self._call(plugin, attachment, result))

    def status(self) -> None:
        """Could every plugin do its ADD now?  The error of the first that could not."""
        for call, plugin in self._calls({}):
            plugin.status(call)

    def collect(self, valid: Iterable[Owner]) -> None:
        """GC at every plugin, whatever the others say; then the first error.  Under the network's lock."""
        failed: list[Error] = []
        pairs = [{"containerID": owner.container_id, "ifname": owner.ifname} for owner in sorted(valid)]
        for call, plugin in self._calls({VALID_ATTACHMENTS: pairs}):
            try:
                plugin.collect(call)
            except Error as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def retire(self) -> None:
        """Undo what pods shared, last plugin first.  Under the network's lock."""
        for call, plugin in reversed(self._calls({})):
            if isinstance(plugin, Builtin):
                plugin.retire(call)

    def _calls(self, extra: dict[str, Any]) -> list[tuple[Call, Plugin]]:
        """A call for each plugin that is about the network and no attachment, for those that know such verbs."""
        nobody = Attachment("", "")
        modern = self._has_since(_STATUS_SINCE)
        found = []
        for plugin in self._network.plugins:
            worker = self._find_plugin(plugin.type)
            if modern or isinstance(worker, Builtin):
                call = self._call(plugin, nobody, None)
                found.append((call._replace(conf=call.conf | extra), worker))
        return found

    def _has_since(self, version: int) -> bool:
        return cni.VERSIONS.index(self._network.cni_version) >= version

    def _has_check(self) -> bool:
        return self._has_since(_CHECK_SINCE)

    def _call(self, plugin: cni.Plugin, attachment: Attachment, previous: Result | None) -> Call:
        return Call(
            network=self._network.name,
            version=self._network.cni_version,
            type=plugin.type,
            conf=request_conf(self._network, plugin, attachment, previous),
            attachment=attachment,
            previous=previous,
            lock=self._lock,
        )


def request_conf(
    network: NetworkConf, plugin: cni.Plugin, attachment: Attachment, previous: Result | None
) -> dict[str, Any]:
    """What the plugin reads: its part of the list and what the runtime adds (SPEC.md §3 "Deriving request")."""
    conf = {key: value for key, value in plugin.raw.items() if key != "capabilities"}
    conf |= {"name": network.name, "cniVersion": network.cni_version}
    wanted = {name for name, on in plugin.capabilities.items() if on}
    granted = {name: value for name, value in attachment.capabilities.items() if name in wanted}
    if granted:
        conf["runtimeConfig"] = granted
    if previous is not None:
        conf["prevResult"] = cni.result_document(previous, network.cni_version)
    return conf


def plugin_types(network: NetworkConf) -> list[str]:
    """Each plugin's type and that of its IPAM plugin."""
    found = []
    for plugin in network.plugins:
        found.append(plugin.type)
        ipam = plugin.raw.get("ipam")
        if isinstance(ipam, dict) and isinstance(ipam.get("type"), str):
            found.append(ipam["type"])
    return found
