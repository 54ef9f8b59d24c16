"""A container as `ps` shows it: texts for columns and templates, and the JSON document."""

from typing import TYPE_CHECKING, Any

from rundlet.cli.local.rows import shorten
from rundlet.cli.table import human_age, human_size, long_time
from rundlet.engine.options import PortMapping
from rundlet.local.words.network import list_names

if TYPE_CHECKING:
    from rundlet.local.status import Container

ID_DIGITS = 12
_COMMAND_WIDTH = 20
COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "Created": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
}
POD_COLUMNS = {"Pod": "POD ID", "PodName": "PODNAME"}
SIZE_COLUMNS = {"Size": "SIZE"}


def describe_status(found: "Container") -> str:
    """ "Up 5 minutes ago", "Exited (1) 2 hours ago", "Created"."""
    if found.state == "created":
        return "Created"
    if found.state == "paused":
        return "Paused"
    if found.state == "running":
        health = f" ({found.health.status})" if found.health.status else ""
        return f"Up {human_age(found.started_at_ns)}{health}"
    if found.state == "exited":
        ago = f" {human_age(found.finished_at_ns)}" if found.finished_at_ns else ""
        return f"Exited ({found.exit_code}){ago}"
    return "Unknown"


def describe_ports(ports: tuple[PortMapping, ...]) -> str:
    """ "0.0.0.0:8080->80/tcp, 0.0.0.0:8000-8002->80-82/tcp"."""
    return ", ".join(
        f"{_host(first.host_ip)}:{_range(first.host_port, count)}->"
        f"{_range(first.container_port, count)}/{first.protocol}"
        for first, count in join_ranges(ports)
    )


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address or "0.0.0.0"  # noqa: S104


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def join_ranges(ports: tuple[PortMapping, ...]) -> list[tuple[PortMapping, int]]:
    """First mapping and length of each run of ports that follow each other on both sides."""
    found: list[tuple[PortMapping, int]] = []
    for port in sorted(ports, key=lambda port: (port.protocol, port.host_ip, port.container_port)):
        if found:
            first, count = found[-1]
            if (port.protocol, port.host_ip, port.container_port, port.host_port) == (
                first.protocol,
                first.host_ip,
                first.container_port + count,
                first.host_port + count,
            ):
                found[-1] = (first, count + 1)
                continue
        found.append((port, 1))
    return found


def describe_sizes(sizes: tuple[int, int] | None) -> str:
    """Of the container's own files, and with its image's; "" when they were not asked for."""
    if sizes is None:
        return ""
    own, whole = sizes
    return f"{human_size(own, 3)} (virtual {human_size(whole, 3)})"


def describe_row(found: "Container", *, full: bool, sizes: tuple[int, int] | None = None) -> dict[str, Any]:
    """Every field that a template may name."""
    command = " ".join(found.command)
    mounts = [mount.target for mount in found.asked.mounts] if found.asked else []
    return {
        "ID": found.id if full else found.short_id,
        "Image": found.image,
        "ImageID": found.image_id.removeprefix("sha256:")[: None if full else ID_DIGITS],
        "Command": command if full else shorten(command, _COMMAND_WIDTH),
        "Created": human_age(found.created_at_ns),
        "CreatedAt": long_time(found.created_at_ns),
        "CreatedHuman": human_age(found.created_at_ns),
        "RunningFor": human_age(found.created_at_ns),
        "StartedAt": found.started_at_ns // 10**9,
        "Status": describe_status(found),
        "State": found.state,
        "Exited": found.state == "exited",
        "ExitCode": found.exit_code or 0,
        "ExitedAt": found.finished_at_ns // 10**9,
        "Ports": describe_ports(found.ports),
        "Names": found.name,
        "Labels": dict(found.labels),
        "Mounts": mounts if full else shorten(", ".join(mounts), _COMMAND_WIDTH),
        "Networks": ",".join(name_networks(found)),
        "Pod": "" if found.own_pod else found.pod_id[: None if full else ID_DIGITS],
        "PodName": "" if found.own_pod else found.pod_name,
        "Pid": found.pid,
        "Restarts": found.restarts,
        "AutoRemove": bool(found.asked and found.asked.remove),
        "Size": describe_sizes(sizes),
    }


def name_networks(found: "Container") -> list[str]:
    asked = found.asked
    if asked is None or asked.network.mode not in ("", "bridge"):
        return []
    return list(list_names(asked.network))


def describe_document(found: "Container", sizes: tuple[int, int] | None = None) -> dict[str, Any]:
    """podman's `ps --format json`."""
    return {
        "AutoRemove": bool(found.asked and found.asked.remove),
        "Command": list(found.command),
        "CreatedAt": human_age(found.created_at_ns),
        "Exited": found.state == "exited",
        "ExitedAt": found.finished_at_ns // 10**9,
        "ExitCode": found.exit_code or 0,
        "Id": found.id,
        "Image": found.image,
        "ImageID": found.image_id.removeprefix("sha256:"),
        "IsInfra": False,
        "Labels": dict(found.labels) or None,
        "Mounts": [mount.target for mount in found.asked.mounts] if found.asked else [],
        "Names": [found.name],
        "Namespaces": {},
        "Networks": name_networks(found),
        "Pid": found.pid,
        "Pod": "" if found.own_pod else found.pod_id,
        "PodName": "" if found.own_pod else found.pod_name,
        "Ports": [_describe_port(*run) for run in join_ranges(found.ports)] or None,
        "Restarts": found.restarts,
        "Size": None if sizes is None else {"rootFsSize": sizes[1], "rwSize": sizes[0]},
        "StartedAt": found.started_at_ns // 10**9,
        "State": found.state,
        "Status": describe_status(found),
        "Created": found.created_at_ns // 10**9,
    }


def _describe_port(first: PortMapping, count: int) -> dict[str, Any]:
    return {
        "host_ip": first.host_ip,
        "container_port": first.container_port,
        "host_port": first.host_port,
        "range": count,
        "protocol": first.protocol,
    }
