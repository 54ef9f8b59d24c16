"""`--network`, `--dns` and `--add-host`.

--network  bridge | none | host | private | container:NAME | pasta[:OPTION,…] | slirp4netns[:OPTION,…]
           NAME[,NAME…] | NAME:ip=…,ip6=…,mac=…,alias=…      and may be repeated for several NAMEs
"""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from rundlet.engine.options import Dns, NetworkUse
from rundlet.errors import InvalidArgument
from rundlet.local.options import NetworkChoice
from rundlet.local.words.numbers import split_comma, suggest
from rundlet.local.words.ports import parse_address
from rundlet.network.named import DEFAULT_NETWORK

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ENDPOINT_KEYS = ("ip", "ip6", "mac", "alias", "interface_name")
_ALONE = ("none", "host", "pasta", "slirp4netns", "container")


def parse_networks(texts: Sequence[str]) -> NetworkChoice:
    """All `--network` options together."""
    choice = NetworkChoice()
    for text in texts:
        choice = _merge(choice, _parse_network(text))
    return choice


def _parse_network(text: str) -> NetworkChoice:
    mode, colon, rest = text.partition(":")
    if mode in ("", "private", "default"):
        return NetworkChoice(mode="bridge")
    if mode == "container":
        if not rest:
            raise InvalidArgument("container: names no container", hint="write it as container:NAME")
        return NetworkChoice(mode="container", container=rest)
    if mode in ("none", "host"):
        if colon:
            raise InvalidArgument(f"{mode} takes no options, got {rest!r}")
        return NetworkChoice(mode="none" if mode == "none" else "host")
    if mode in ("pasta", "slirp4netns"):
        options = split_comma(rest) if rest else ()
        return NetworkChoice(mode="pasta" if mode == "pasta" else "slirp4netns", options=options)
    if mode == "ns":
        raise InvalidArgument("a namespace by its path is not supported")
    return _parse_bridge(mode, rest)


def _parse_bridge(names: str, rest: str) -> NetworkChoice:
    choice = NetworkChoice(mode="bridge", names=() if names == "bridge" else tuple(names.split(",")))
    for name in choice.names:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"not a network's name: {name!r}")
    for pair in rest.split(",") if rest else ():
        key, _, value = pair.partition("=")
        choice = _set_endpoint(choice, key, value)
    return choice


def _set_endpoint(choice: NetworkChoice, key: str, value: str) -> NetworkChoice:
    if key == "ip":
        return replace(choice, ip=parse_ip4(value))
    if key == "ip6":
        return replace(choice, ip6=parse_ip6(value))
    if key == "mac":
        return replace(choice, mac=parse_mac(value))
    if key == "alias":
        return replace(choice, aliases=(*choice.aliases, value))
    raise InvalidArgument(f"unknown option {key!r}", hint=suggest(key, _ENDPOINT_KEYS[:4]))


def _merge(one: NetworkChoice, other: NetworkChoice) -> NetworkChoice:
    """What each says of addresses and aliases is of its own network alone."""
    if not one.mode:
        return other
    if one.mode in _ALONE or other.mode in _ALONE:
        raise InvalidArgument(f"{one.mode} and {other.mode} cannot be joined together")
    return NetworkChoice(
        mode="bridge",
        names=tuple(dict.fromkeys((*list_names(one), *list_names(other)))),
        ends=(*_list_ends(one), *_list_ends(other)),
    )


def list_names(choice: NetworkChoice) -> tuple[str, ...]:
    """Of a choice of bridges."""
    return choice.names or (DEFAULT_NETWORK,)


def _list_ends(choice: NetworkChoice) -> tuple[NetworkUse, ...]:
    ips = tuple(filter(None, (choice.ip, choice.ip6)))
    first = NetworkUse(list_names(choice)[0], ips, choice.mac, choice.aliases)
    return choice.ends if first == NetworkUse(first.name) else (*choice.ends, first)


def parse_ip4(text: str) -> str:
    address = parse_address(text)
    if ":" in address:
        raise InvalidArgument(f"not an IPv4 address: {text!r}")
    return address


def parse_ip6(text: str) -> str:
    address = parse_address(text)
    if ":" not in address:
        raise InvalidArgument(f"not an IPv6 address: {text!r}")
    return address


def parse_mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise InvalidArgument(f"not a MAC address: {text!r}", hint="write it as 92:d0:c6:0a:29:33")
    return text.lower()


def parse_dns(servers: Sequence[str], searches: Sequence[str], options: Sequence[str]) -> Dns:
    """A search domain "." empties the host's list."""
    if "none" in servers:
        raise InvalidArgument("none: a container always has a resolv.conf here")
    return Dns(tuple(map(parse_address, servers)), tuple(searches), tuple(options))


def parse_host(text: str) -> tuple[str, str]:
    """`--add-host NAME:ADDRESS` as (address, name); the address may be host-gateway."""
    name, colon, address = text.partition(":")
    if not colon or not _HOST_NAME.fullmatch(name):
        raise InvalidArgument("expected NAME:ADDRESS")
    return (address if address == "host-gateway" else parse_address(address.strip("[]"))), name
