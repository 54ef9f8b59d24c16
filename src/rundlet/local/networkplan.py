"""A network that people ask for → the CNI configuration list of it.  Pure."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from rundlet.errors import AlreadyExists, InvalidArgument, ResourceExhausted
from rundlet.netlink.address import IpNetwork
from rundlet.network.named import bridge_network

# Free subnets are looked for here: the default network's neighbours.
_POOL = ipaddress.ip_network("10.87.0.0/16")
_PREFIX_LENGTH = 24
_OPTIONS = {
    "bridge": ("mtu", "isolate", "com.docker.network.bridge.name", "com.docker.network.driver.mtu"),
    "macvlan": ("mtu", "mode", "parent"),
}


class NetworkRequest(Struct, frozen=True):
    """What `network create` asks; a gateway and a range belong to the subnet that they lie in."""

    name: str
    driver: Literal["bridge", "macvlan"] = "bridge"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ip_ranges: tuple[str, ...] = ()
    ipv6: bool = False
    internal: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


class Subnet(Struct, frozen=True, omit_defaults=True):
    """`range_start` and `range_end` are "" where all of the subnet is given out."""

    subnet: str
    gateway: str = ""
    range_start: str = ""
    range_end: str = ""


class NetworkRecord(Struct, frozen=True, omit_defaults=True):
    """What only this program knows of a network."""

    created_at_ns: int = 0
    internal: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


def plan_subnets(request: NetworkRequest, taken: Sequence[IpNetwork], random: bytes) -> tuple[Subnet, ...]:
    """Those that are asked for, or a free one; with `ipv6` one of each family.

    `random` are five bytes for a unique local prefix (RFC 4193).  Raises AlreadyExists for a subnet
    that overlaps a `taken` one, InvalidArgument for what does not fit together.
    """
    subnets = [_parse_network(text, "subnet") for text in request.subnets]
    for subnet in subnets:
        rivals = [other for other in taken if other.version == subnet.version and other.overlaps(subnet)]
        if rivals:
            raise AlreadyExists(
                f"subnet {subnet} overlaps {rivals[0]}, which is another network's or a way of this host's",
                hint="leave --subnet out to have a free one",
            )
    if not subnets and request.gateways:
        raise InvalidArgument(f"gateway {request.gateways[0]}: of which --subnet?")
    if not subnets:
        subnets.append(_find_free(taken))
    if request.ipv6 and all(subnet.version == 4 for subnet in subnets):
        subnets.append(ipaddress.ip_network((b"\xfd" + random + bytes(10), 64)))
    return _place(subnets, request)


def _place(subnets: Sequence[IpNetwork], request: NetworkRequest) -> tuple[Subnet, ...]:
    gateways = {_find_home(subnets, text, "gateway"): text for text in request.gateways}
    ranges = {
        _find_home(subnets, text.partition("-")[0].partition("/")[0], "ip-range"): text
        for text in request.ip_ranges
    }
    found = []
    for subnet in subnets:
        start, end = _parse_range(subnet, ranges[subnet]) if subnet in ranges else ("", "")
        found.append(Subnet(str(subnet), gateways.get(subnet, str(subnet[1])), start, end))
    return tuple(found)


def _find_home(subnets: Sequence[IpNetwork], text: str, what: str) -> IpNetwork:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {error}") from error
    for subnet in subnets:
        if address.version == subnet.version and address in subnet:
            return subnet
    raise InvalidArgument(f"{what} {text} is in none of the subnets {', '.join(map(str, subnets))}")


def _parse_range(subnet: IpNetwork, text: str) -> tuple[str, str]:
    """A subnet of the subnet, or FIRST-LAST."""
    first, dash, last = text.partition("-")
    if dash:
        _find_home([subnet], last, "ip-range")
        return first, last
    part = _parse_network(text, "ip-range")
    if part.version != subnet.version or part.prefixlen < subnet.prefixlen:
        raise InvalidArgument(f"ip-range {part} is not in subnet {subnet}")
    start = part[1] if part[0] == subnet[0] else part[0]
    end = part[-2] if part[-1] == subnet[-1] and subnet.version == 4 else part[-1]
    return str(start), str(end)


def _parse_network(text: str, what: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {error}", hint="as 10.90.0.0/24") from error


def _find_free(taken: Sequence[IpNetwork]) -> IpNetwork:
    rivals = [one for one in taken if isinstance(one, ipaddress.IPv4Network)]
    for subnet in _POOL.subnets(new_prefix=_PREFIX_LENGTH):
        if not any(one.overlaps(subnet) for one in rivals):
            return subnet
    raise ResourceExhausted(f"no free subnet is left in {_POOL}", hint="name one with --subnet")


def plan_network(
    request: NetworkRequest,
    interface: str,
    subnets: Sequence[Subnet],
    data_dir: str,
    created_at_ns: int,
) -> dict[str, Any]:
    """The conflist.  Raises InvalidArgument for options that the driver does not have."""
    for option in request.options:
        known = _OPTIONS[request.driver]
        if option not in known:
            raise InvalidArgument(
                f"driver {request.driver} has no option {option!r}", hint=f"there are {', '.join(known)}"
            )
    ranges = [_plan_range(one) for one in subnets]
    mtu = _parse_mtu(request.options.get("mtu") or request.options.get("com.docker.network.driver.mtu", "0"))
    if request.driver == "macvlan":
        document = _plan_macvlan(request, interface, ranges, data_dir, mtu)
    else:
        isolate = request.options.get("isolate", "false") == "true"
        document = bridge_network(
            request.name, interface, ranges, data_dir, internal=request.internal, mtu=mtu, isolate=isolate
        )
    record = NetworkRecord(created_at_ns, request.internal, request.labels, request.options)
    return document | {"rundlet": record}


def _plan_range(one: Subnet) -> dict[str, str]:
    values = {"gateway": one.gateway, "rangeStart": one.range_start, "rangeEnd": one.range_end}
    return {"subnet": one.subnet} | {key: value for key, value in values.items() if value}


def _plan_macvlan(
    request: NetworkRequest, parent: str, ranges: list[dict[str, str]], data_dir: str, mtu: int
) -> dict[str, Any]:
    routes = (
        []
        if request.internal
        else [{"dst": "::/0" if ":" in one["subnet"] else "0.0.0.0/0"} for one in ranges]
    )
    plugin: dict[str, Any] = {
        "type": "macvlan",
        "mode": request.options.get("mode", "bridge"),
        "ipam": {
            "type": "host-local",
            "dataDir": data_dir,
            "ranges": [[one] for one in ranges],
            "routes": routes,
        },
        "capabilities": {"ips": True, "mac": True},
    }
    if parent:
        plugin["master"] = parent
    if mtu:
        plugin["mtu"] = mtu
    return {"cniVersion": "1.0.0", "name": request.name, "plugins": [plugin]}


def _parse_mtu(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidArgument(f"option mtu: {text!r} is not a number up to 65535")
    return int(text)
