"""The plugins that are done in this process, by type."""

from collections.abc import Callable

from rundlet.network.bandwidth import Bandwidth
from rundlet.network.bridge import Bridge
from rundlet.network.call import Builtin, Plugin
from rundlet.network.firewall import Firewall
from rundlet.network.hostdevice import HostDevice
from rundlet.network.hostlocal import HostLocal
from rundlet.network.loopback import Loopback
from rundlet.network.macvlan import Macvlan
from rundlet.network.portmap import Portmap
from rundlet.network.ptp import Ptp
from rundlet.network.ruleset import Ruleset
from rundlet.network.tuning import Tuning

BUILTIN = (
    "bridge",
    "host-local",
    "loopback",
    "portmap",
    "firewall",
    "bandwidth",
    "tuning",
    "ptp",
    "host-device",
    "macvlan",
)


def make_builtin(find_plugin: Callable[[str], Plugin]) -> dict[str, Builtin]:
    """One of each; `find_plugin` gives the IPAM plugin for its type."""
    ruleset = Ruleset()
    plugins = (
        Bridge(find_plugin, ruleset),
        HostLocal(),
        Loopback(),
        Portmap(ruleset),
        Firewall(ruleset),
        Bandwidth(),
        Tuning(),
        Ptp(find_plugin, ruleset),
        HostDevice(find_plugin),
        Macvlan(find_plugin),
    )
    return dict(zip(BUILTIN, plugins, strict=True))
