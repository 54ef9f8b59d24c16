"""A main plugin's IPAM plugin, asked with the main plugin's own configuration (CNI SPEC.md §4)."""

from collections.abc import Callable
from typing import Any

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.network.call import Call, Plugin
from rundlet.spec.cni import Result


class Ipam:
    """`find_plugin` gives the plugin for its type; without `ipam` in the configuration nothing is asked."""

    def __init__(self, find_plugin: Callable[[str], Plugin]) -> None:
        self._find_plugin = find_plugin

    def add(self, call: Call) -> Result:
        """Addresses for the pod, at least one."""
        if not _conf(call):
            return Result()
        given = self._plugin(call).add(_delegate(call))
        if not given.ips:
            raise FailedPrecondition(f"{call.what}: IPAM plugin {_conf(call)['type']} gave no address")
        return given

    def delete(self, call: Call) -> None:
        if _conf(call):
            self._plugin(call).delete(_delegate(call))

    def check(self, call: Call) -> None:
        if _conf(call):
            self._plugin(call).check(_delegate(call))

    def status(self, call: Call) -> None:
        if _conf(call):
            self._plugin(call).status(_delegate(call))

    def collect(self, call: Call) -> None:
        if _conf(call):
            self._plugin(call).collect(_delegate(call))

    def _plugin(self, call: Call) -> Plugin:
        return self._find_plugin(_type(call))


def _conf(call: Call) -> dict[str, Any]:
    found = call.conf.get("ipam") or {}
    if not isinstance(found, dict):
        raise InvalidArgument(f"{call.what}: ipam: expected an object")
    return found


def _type(call: Call) -> str:
    kind = _conf(call).get("type")
    if not isinstance(kind, str) or not kind or "/" in kind:
        raise InvalidArgument(f"{call.what}: ipam.type: expected the name of a plugin")
    return kind


def _delegate(call: Call) -> Call:
    return call._replace(type=_type(call))
