"""`--publish`: [[HOST-IP:][HOST-PORT]:]CONTAINER-PORT[/PROTOCOL], ports as ranges FIRST-LAST; IPv6 in brackets."""

import re
from typing import Literal, cast

from rundlet.engine.options import PortMapping
from rundlet.errors import InvalidArgument

Protocol = Literal["tcp", "udp", "sctp"]
_FORM = re.compile(
    r"(?:(?:(?P<ip>\[[^\]]*\]|[^:\[\]]*):)?(?P<host>[^:]*):)?(?P<container>[^:/]+)(?:/(?P<protocol>.+))?"
)
_PORT_MAX = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """One mapping for each port of a range; host port 0 is "any that is free"."""
    found = _FORM.fullmatch(text)
    if not found:
        raise InvalidArgument("expected [[HOST-IP:][HOST-PORT]:]CONTAINER-PORT[/PROTOCOL]")
    protocol = parse_protocol(found["protocol"] or "tcp")
    host_ip = _check_ip((found["ip"] or "").strip("[]"))
    first, last = parse_port_range(found["container"])
    count = last - first + 1
    if not found["host"]:
        return tuple(PortMapping(first + step, 0, host_ip, protocol) for step in range(count))
    host_first, host_last = parse_port_range(found["host"])
    if host_last - host_first + 1 != count:
        raise InvalidArgument(f"{host_last - host_first + 1} host ports for {count} of the container")
    return tuple(PortMapping(first + step, host_first + step, host_ip, protocol) for step in range(count))


def parse_expose(text: str) -> tuple[PortMapping, ...]:
    """PORT[-PORT][/PROTOCOL]: ports that `--publish-all` publishes."""
    ports, _, protocol = text.partition("/")
    first, last = parse_port_range(ports)
    kind = parse_protocol(protocol or "tcp")
    return tuple(PortMapping(port, protocol=kind) for port in range(first, last + 1))


def parse_port_range(text: str) -> tuple[int, int]:
    """First and last port."""
    first, _, last = text.partition("-")
    begin, end = _parse_port(first), _parse_port(last or first)
    if end < begin:
        raise InvalidArgument(f"the range {text!r} ends before it begins")
    return begin, end


def parse_protocol(text: str) -> Protocol:
    if text.lower() not in _PROTOCOLS:
        raise InvalidArgument(f"unknown protocol {text!r}", hint="tcp, udp or sctp")
    return cast("Protocol", text.lower())


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _PORT_MAX:
        raise InvalidArgument(f"not a port: {text!r}", hint=f"a port is a number of 1 to {_PORT_MAX}")
    return int(text)


def _check_ip(text: str) -> str:
    """ "" is every address of the host, which podman writes in these ways."""
    return "" if text in ("", "0.0.0.0", "*") else parse_address(text)  # noqa: S104


def parse_address(text: str) -> str:
    """An IPv4 or IPv6 address as inet_ntop writes it."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):  # ValueError: a NUL, half a surrogate pair
            continue
    raise InvalidArgument(f"not an IP address: {text!r}")
