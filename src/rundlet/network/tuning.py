"""tuning: settings of the pod's namespace and of its interface, after another plugin has made it.

What the interface had before is kept, for one that outlives the pod (host-device):

    <data dir>/<container id>_<ifname>.json     {"mac", "mtu", "txqlen", "promiscuous", "allmulti"}
"""

import os
import re
from typing import Any

from msgspec import Struct, field, structs

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from rundlet.netlink import link
from rundlet.netlink.link import Link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, require_previous
from rundlet.network.leases import storage_error
from rundlet.network.namespace import open_route_socket, run_inside
from rundlet.network.podlink import MacRequest, check_mac
from rundlet.network.sysctl import read_sysctl, write_sysctl
from rundlet.spec import json
from rundlet.spec.cni import Interface, Result
from rundlet.spec.document import drop_nulls

# The administrator's list of regular expressions, one a line: only what fits one of them may be set.
ALLOWLIST = "/etc/cni/tuning/allowlist.conf"
DEFAULT_DATA_DIR = "/run/cni/tuning"

# Word by word: no "." or ".." leads out of net/.
_SYSCTL = re.compile(r"net(/[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*)+")


class _Conf(MacRequest, frozen=True, rename="camel"):
    sysctl: dict[str, str] = {}
    set_mac: str = field(name="mac", default="")
    mtu: int = 0
    promisc: bool = False
    allmulti: bool | None = None
    tx_q_len: int | None = field(name="txQLen", default=None)
    data_dir: str = DEFAULT_DATA_DIR

    @property
    def wanted_mac(self) -> str:
        return self.mac or self.set_mac


class _Backup(Struct, frozen=True):
    mac: str
    mtu: int
    txqlen: int
    promiscuous: bool
    allmulti: bool


class Tuning(Builtin):
    def add(self, call: Call) -> Result:
        conf = _parse(call)
        previous = require_previous(call)
        settings = plan_sysctls(call, conf.sysctl)
        if settings:
            _write_all(call, settings)
        if _changes(conf):
            _change(call, conf)
        return _with_link(call, previous, conf)

    def delete(self, call: Call) -> None:
        try:
            path = _backup_path(call, _parse(call))
        except InvalidArgument:
            return  # ADD cannot have got past it either
        backup = _read_backup(path)
        if backup:
            _restore(call, backup)
        for name in (path, f"{path}.new"):
            try:
                os.unlink(name)
            except FileNotFoundError:
                pass  # nothing was changed, or all is undone

    def check(self, call: Call) -> None:
        conf = _parse(call)
        for name, value in plan_sysctls(call, conf.sysctl).items():
            found = _inside(call, lambda name=name: read_sysctl(name))
            if found.split() != value.split():
                raise FailedPrecondition(f"{call.what}: {name} is {found!r}, not {value!r}")
        with NetlinkSocket(fd=call.attachment.route_fd) as pod:
            own = link.parse_link(pod.query(link.get_link(call.attachment.ifname)))
        for what, wanted, is_so in _compare(conf, own):
            if wanted and not is_so:
                raise FailedPrecondition(f"{call.what}: {own.name} has lost its {what}")

    def status(self, call: Call) -> None:
        plan_sysctls(call, _parse(call).sysctl)

    def collect(self, call: Call) -> None:
        """Backups of attachments that are no more; their interfaces have gone home or died."""
        directory = _parse(call).data_dir
        valid = {f"{owner.container_id}_{owner.ifname}.json" for owner in call.valid}
        for name in _list(directory):
            # The file says whose it is only by its name, and networks share the directory: so does its content.
            path = os.path.join(directory, name)
            if name.endswith(".json") and name not in valid and _network_of(path) == call.network:
                os.unlink(path)


def _parse(call: Call) -> _Conf:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    check_mac(conf.wanted_mac, call.what)
    return conf


def plan_sysctls(call: Call, wanted: dict[str, str]) -> dict[str, str]:
    """Values by path under /proc/sys; InvalidArgument for what is not the network's, or not allowed here."""
    allowed = _read_allowlist()
    found = {}
    for name, value in wanted.items():
        # A "/" in the name means that its dots belong to it, as in an interface's: sysctl(8).
        path = name if "/" in name else name.replace(".", "/")
        path = path.replace("IFNAME", call.attachment.ifname)
        if not _SYSCTL.fullmatch(path):
            raise InvalidArgument(f"{call.what}: sysctl {name!r} is not a setting of the network namespace")
        if allowed is not None and not any(pattern.search(name) for pattern in allowed):
            raise PermissionDenied(f"{call.what}: sysctl {name} is not allowed by {ALLOWLIST}")
        found[path] = value
    return found


def _read_allowlist() -> list[re.Pattern[str]] | None:
    try:
        with open(ALLOWLIST, encoding="utf-8") as file:
            return [re.compile(line.strip()) for line in file if line.strip()]
    except FileNotFoundError:
        return None
    except (OSError, re.error) as error:
        raise FailedPrecondition(f"cannot use {ALLOWLIST}: {error}") from error


def _inside(call: Call, action: Any) -> Any:
    return run_inside(call.attachment.netns_fd, action, call.attachment.netns_path)


def _write_all(call: Call, settings: dict[str, str]) -> None:
    def write() -> None:
        for name, value in settings.items():
            write_sysctl(name, value)

    _inside(call, write)


def _changes(conf: _Conf) -> bool:
    return bool(conf.wanted_mac or conf.mtu or conf.promisc) or (conf.allmulti, conf.tx_q_len) != (None, None)


def _change(call: Call, conf: _Conf) -> None:
    with NetlinkSocket(fd=call.attachment.route_fd) as pod:
        own = link.parse_link(pod.query(link.get_link(call.attachment.ifname)))
        _write_backup(call, conf, own)
        pod.execute(
            link.change_link(
                own.ifindex,
                mac=conf.wanted_mac,
                mtu=conf.mtu,
                txqlen=-1 if conf.tx_q_len is None else conf.tx_q_len,
                promiscuous=True if conf.promisc else None,
                allmulti=conf.allmulti,
            )
        )


def _compare(conf: _Conf, own: Link) -> list[tuple[str, object, bool]]:
    """(what, wanted at all?, is it so?)."""
    return [
        ("MAC", conf.wanted_mac, own.mac == conf.wanted_mac.lower()),
        ("MTU", conf.mtu, own.mtu == conf.mtu),
        ("promiscuous mode", conf.promisc, own.promiscuous),
        ("setting allmulti", conf.allmulti is not None, own.allmulti == conf.allmulti),
        ("transmit queue length", conf.tx_q_len is not None, own.txqlen == conf.tx_q_len),
    ]


def _with_link(call: Call, previous: Result, conf: _Conf) -> Result:
    """The result, its interface as it is now."""

    def tune(interface: Interface) -> Interface:
        if interface.name != call.attachment.ifname or not interface.sandbox:
            return interface
        return structs.replace(interface, mac=conf.wanted_mac or interface.mac, mtu=conf.mtu or interface.mtu)

    return structs.replace(previous, interfaces=tuple(map(tune, previous.interfaces)))


def _backup_path(call: Call, conf: _Conf) -> str:
    return f"{conf.data_dir}/{call.attachment.container_id}_{call.attachment.ifname}.json"


def _write_backup(call: Call, conf: _Conf, own: Link) -> None:
    backup = _Backup(own.mac, own.mtu, own.txqlen, own.promiscuous, own.allmulti)
    path = _backup_path(call, conf)
    try:
        os.makedirs(conf.data_dir, mode=0o700, exist_ok=True)
        with open(f"{path}.new", "wb") as file:
            file.write(json.encode({**structs.asdict(backup), "network": call.network}))
        os.rename(f"{path}.new", path)
    except OSError as error:
        raise storage_error(f"write {path}", error) from error


def _read_backup(path: str) -> _Backup | None:
    try:
        with open(path, "rb") as file:
            return json.decode(file.read(), _Backup, path)
    except FileNotFoundError:
        return None
    except InvalidArgument:
        return None  # not ours, or damaged: nothing to go by
    except OSError as error:
        raise storage_error(f"read {path}", error) from error


def _network_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return str(json.decode(file.read(), dict, path).get("network", ""))
    except (OSError, InvalidArgument):
        return ""


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _restore(call: Call, backup: _Backup) -> None:
    """Nothing to do where the namespace, or the interface in it, is gone."""
    try:
        route_fd = open_route_socket(call.attachment.netns_path)
    except NotFound:
        return
    with NetlinkSocket(fd=route_fd, owned=True) as pod:
        own = link.find_link(pod, call.attachment.ifname)
        if own:
            pod.execute(
                link.change_link(
                    own.ifindex,
                    mac=backup.mac,
                    mtu=backup.mtu,
                    txqlen=backup.txqlen,
                    promiscuous=backup.promiscuous,
                    allmulti=backup.allmulti,
                )
            )
