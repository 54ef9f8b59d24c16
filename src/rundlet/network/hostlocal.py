"""host-local: addresses from ranges in the configuration, kept on this host.

    "ipam": {"type": "host-local", "dataDir": "…", "resolvConf": "…", "routes": [{"dst": "0.0.0.0/0"}],
             "ranges": [[{"subnet": "10.88.0.0/16", "rangeStart": "…", "rangeEnd": "…", "gateway": "…"}]]}

The older form has one range's keys beside `type`; it counts as the first set.
"""

import ipaddress
from typing import NamedTuple

from msgspec import Struct, field

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.netlink.address import IpAddress
from rundlet.network.call import Builtin, Call
from rundlet.network.leases import DEFAULT_DATA_DIR, Leases, storage_error
from rundlet.network.ranges import AddressRange, RangeConf, check_range_sets, parse_range
from rundlet.spec import json
from rundlet.spec.cni import Dns, IpConfig, Result, Route
from rundlet.spec.document import drop_nulls


class _IpamConf(Struct, frozen=True, rename="camel"):
    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""
    ranges: tuple[tuple[RangeConf, ...], ...] = ()
    routes: tuple[Route, ...] = ()
    data_dir: str = ""
    resolv_conf: str = ""


class _CniArgs(Struct, frozen=True):
    ips: tuple[str, ...] = ()


class _Args(Struct, frozen=True):
    cni: _CniArgs = _CniArgs()


class _RuntimeConfig(Struct, frozen=True, rename="camel"):
    ip_ranges: tuple[tuple[RangeConf, ...], ...] = ()
    ips: tuple[str, ...] = ()


class _Conf(Struct, frozen=True, rename="camel"):
    ipam: _IpamConf = field(default_factory=_IpamConf)
    runtime_config: _RuntimeConfig = _RuntimeConfig()
    args: _Args = _Args()


class _Plan(NamedTuple):
    leases: Leases
    range_sets: list[list[AddressRange]]
    conf: _IpamConf
    wanted: list[IpAddress]


class HostLocal(Builtin):
    """The host-local plugin, asked by a main plugin with that one's configuration."""

    def add(self, call: Call) -> Result:
        plan = _plan(call)
        # Read first: a lease must not stay behind when this fails.
        dns = _read_resolv_conf(plan.conf.resolv_conf)
        chosen = plan.leases.reserve(plan.range_sets, call.owner, plan.wanted)
        ips = tuple(
            IpConfig(address=f"{ip}/{found.subnet.prefixlen}", gateway=str(found.gateway))
            for ip, found in chosen
        )
        return Result(ips=ips, routes=plan.conf.routes, dns=dns)

    def delete(self, call: Call) -> None:
        try:
            leases = _leases(call, _parse(call))
        except InvalidArgument:
            return  # ADD cannot have got past it either
        given = call.previous.ips if call.previous else ()
        leases.release(call.owner, [ipaddress.ip_interface(ip.address).ip for ip in given])

    def status(self, call: Call) -> None:
        """Unavailable when the leases cannot be kept, ResourceExhausted when no address is left."""
        plan = _plan(call)
        plan.leases.require_room(plan.range_sets)

    def collect(self, call: Call) -> None:
        _leases(call, _parse(call)).collect(call.valid)

    def check(self, call: Call) -> None:
        if call.owner not in _plan(call).leases.owners().values():
            raise FailedPrecondition(
                f"{call.what}: no address is reserved for {call.attachment.container_id}"
            )


def _parse(call: Call) -> _Conf:
    return json.convert(drop_nulls(call.conf), _Conf, call.what)


def _plan(call: Call) -> _Plan:
    conf = _parse(call)
    what = f"{call.what}: ipam"
    range_confs = [*conf.runtime_config.ip_ranges, *_first_set(conf.ipam), *conf.ipam.ranges]
    if not range_confs:
        raise InvalidArgument(f"{what}: neither subnet nor ranges")
    range_sets = [
        [parse_range(one, f"{what}: ranges[{n}][{m}]") for m, one in enumerate(range_set)]
        for n, range_set in enumerate(range_confs)
    ]
    check_range_sets(range_sets, what)
    return _Plan(_leases(call, conf), range_sets, conf.ipam, _parse_wanted(call, conf))


def _parse_wanted(call: Call, conf: _Conf) -> list[IpAddress]:
    """The addresses asked for: capability ips, args.cni.ips, IP in CNI_ARGS; a prefix length says nothing."""
    texts = [*conf.runtime_config.ips, *conf.args.cni.ips]
    texts += [text for key, value in call.attachment.args if key == "IP" for text in value.split(",")]
    try:
        wanted = {ipaddress.ip_interface(text).ip: None for text in texts}
    except ValueError as error:
        raise InvalidArgument(f"{call.what}: ips: {error}") from error
    return list(wanted)


def _leases(call: Call, conf: _Conf) -> Leases:
    return Leases(conf.ipam.data_dir or DEFAULT_DATA_DIR, call.network)


def _first_set(conf: _IpamConf) -> list[tuple[RangeConf, ...]]:
    if not conf.subnet:
        return []
    return [(RangeConf(conf.subnet, conf.range_start, conf.range_end, conf.gateway),)]


def _read_resolv_conf(path: str) -> Dns:
    """The name servers of a resolv.conf(5) file, nothing for ""."""
    if not path:
        return Dns()
    found: dict[str, list[str]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                keyword, *values = line.split() or [""]
                found.setdefault(keyword, []).extend(values)
    except OSError as error:
        raise storage_error(f"read ipam.resolvConf {path}", error) from error
    return Dns(
        nameservers=tuple(found.get("nameserver", ())),
        domain=next(iter(found.get("domain", ())), ""),
        search=tuple(found.get("search", ())),
        options=tuple(found.get("options", ())),
    )
