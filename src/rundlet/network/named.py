"""Networks of the machine's own, which pods ask for by name.

    <directory>/<name>.conflist     one network each (CNI)

The directory is not the node's (/etc/cni/net.d): whatever is made here, a
kubelet's pods stay on the network that they have.  One network, `rundlet`, is
there without a file; a file of that name takes its place.
"""

import json
from typing import Any

from rundlet.errors import Error, NotFound
from rundlet.kernel.namespace import in_user_namespace
from rundlet.network.conf import ConfDirectory
from rundlet.network.sysctl import read_sysctl
from rundlet.network.usermode import TYPE as USERMODE
from rundlet.spec.cni import NetworkConf, parse_network_conf

DEFAULT_NETWORK = "rundlet"
DEFAULT_BRIDGE = "rundlet0"
DEFAULT_SUBNETS = ("10.86.0.0/16", "fd72:6e64:6c65:7400::/64")


class NamedNetworks:
    """Thread-safe."""

    def __init__(self, directory: str, data_dir: str) -> None:
        """`data_dir` has the leases of the default network."""
        self._directory = ConfDirectory(directory)
        self._data_dir = data_dir

    def find(self, name: str) -> NetworkConf:
        """Raises NotFound, which names a file's fault where that may be why."""
        loaded = self._directory.load()
        for network in loaded.networks():
            if network.name == name:
                return network
        if name == DEFAULT_NETWORK:
            return default_network(self._data_dir)
        faults = [fault for fault in loaded.faults if f"/{name}.conflist" in fault]
        raise NotFound(
            f"there is no network {name}" + (f": {faults[0]}" if faults else ""),
            hint=f"there are: {', '.join(self.names())}; `rundlet network create {name}` makes one",
        )

    def names(self) -> list[str]:
        """The default one first."""
        named = {network.name for network in self._directory.load().networks()}
        return [DEFAULT_NETWORK, *sorted(named - {DEFAULT_NETWORK})]


def default_network(data_dir: str) -> NetworkConf:
    """The network `rundlet`; its second address family only where the host has IPv6.

    An ordinary user has no bridge on the host: each pod has a network of its own there.
    """
    if in_user_namespace():
        plugins = [{"type": USERMODE, "capabilities": {"portMappings": True}}]
        own = {"cniVersion": "1.0.0", "name": DEFAULT_NETWORK, "plugins": plugins}
        return parse_network_conf(json.dumps(own).encode(), "the built-in network")
    subnets = DEFAULT_SUBNETS if _has_ipv6() else DEFAULT_SUBNETS[:1]
    ranges = [{"subnet": subnet} for subnet in subnets]
    document = bridge_network(DEFAULT_NETWORK, DEFAULT_BRIDGE, ranges, data_dir)
    return parse_network_conf(json.dumps(document).encode(), "the built-in network")


def bridge_network(
    name: str,
    bridge: str,
    ranges: list[dict[str, str]],
    data_dir: str,
    *,
    internal: bool = False,
    mtu: int = 0,
    isolate: bool = False,
) -> dict[str, Any]:
    """The conflist of pods behind one bridge of this host; an `internal` one leads nowhere else."""
    everywhere = ["::/0" if ":" in one["subnet"] else "0.0.0.0/0" for one in ranges]
    ipam: dict[str, Any] = {"type": "host-local", "dataDir": data_dir, "ranges": [[one] for one in ranges]}
    if not internal:
        ipam["routes"] = [{"dst": destination} for destination in everywhere]
    first = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": not internal,
        "ipMasq": not internal,
        "hairpinMode": True,
        "ipam": ipam,
        "capabilities": {"ips": True, "mac": True},
    }
    if mtu:
        first["mtu"] = mtu
    plugins: list[dict[str, Any]] = [first]
    if not internal:
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}})
    plugins.append({"type": "firewall"} | ({"ingressPolicy": "same-bridge"} if isolate else {}))
    return {"cniVersion": "1.0.0", "name": name, "plugins": plugins}


def _has_ipv6() -> bool:
    try:
        return read_sysctl("net/ipv6/conf/all/disable_ipv6") == "0"
    except (OSError, Error):
        return False
