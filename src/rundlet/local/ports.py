"""Ports of the host for a container: those that were named, and free ones for those that were not."""

import socket

from msgspec.structs import replace

from rundlet.engine.options import PortMapping
from rundlet.errors import AlreadyExists, InvalidArgument
from rundlet.local.options import RunOptions
from rundlet.spec.image import ExecutionConfig

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def choose_ports(asked: RunOptions, image: ExecutionConfig) -> tuple[PortMapping, ...]:
    """Every mapping with a host port; with `publish_all` those too that are exposed, by the image or by `exposed`.

    Raises AlreadyExists for a port of the host that a program of this machine listens on.
    """
    wanted = [*asked.ports]
    if asked.publish_all:
        named = {(port.container_port, port.protocol) for port in wanted}
        exposed = dict.fromkeys((*asked.exposed, *_list_exposed(image)))
        wanted += [port for port in exposed if (port.container_port, port.protocol) not in named]
    return tuple(choose_port(port) for port in wanted)


def _list_exposed(image: ExecutionConfig) -> list[PortMapping]:
    return [_parse_exposed(text) for text in image.exposed_ports]


def _parse_exposed(text: str) -> PortMapping:
    number, _, protocol = text.partition("/")
    if not number.isdecimal() or protocol not in ("", "tcp", "udp", "sctp"):
        raise InvalidArgument(f"the image exposes {text!r}, which is not a port")
    return PortMapping(container_port=int(number), protocol=protocol or "tcp")  # type: ignore[arg-type]  # one of three


def choose_port(mapping: PortMapping) -> PortMapping:
    """With a port that was free a moment ago; that nobody takes it first cannot be promised, only tried."""
    kind = _KINDS.get(mapping.protocol)
    if kind is None:
        return mapping
    family = socket.AF_INET6 if ":" in mapping.host_ip else socket.AF_INET
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((mapping.host_ip, mapping.host_port))
        except OSError as error:
            raise AlreadyExists(
                f"port {mapping.host_port}/{mapping.protocol} of the host: {error.strerror}",
                hint="publish another port, or port 0 for a free one",
            ) from error
        return replace(mapping, host_port=probe.getsockname()[1])
