"""pasta(1) of passt: a pod has the host's own addresses, and its connections are the user's sockets.

It goes into the background when all is set up, and leaves when the namespace's file has gone.
"""

from collections.abc import Sequence
from typing import Any, Final

from rundlet.errors import InvalidArgument

PROGRAM: Final = "pasta"
_OPTIONS: Final = {"tcp": "-t", "udp": "-u"}


def plan_words(
    netns_path: str, ifname: str, pid_file: str, mappings: Sequence[dict[str, Any]]
) -> tuple[str, ...]:
    """The program's words; `mappings` are CNI's portMappings."""
    ports = [word for mapping in mappings for word in _plan_port(mapping)]
    published = {mapping["protocol"] for mapping in mappings}
    none = [word for name, option in _OPTIONS.items() if name not in published for word in (option, "none")]
    return (
        PROGRAM, "--config-net", "--quiet", "--no-map-gw", "--ns-ifname", ifname, "--pid", pid_file,
        *ports, *none, "-T", "none", "-U", "none", "--netns", netns_path,
    )  # fmt: skip


def _plan_port(mapping: dict[str, Any]) -> tuple[str, str]:
    option = _OPTIONS.get(mapping["protocol"])
    if option is None:
        raise InvalidArgument(
            f"host port {mapping['hostPort']}/{mapping['protocol']}: without root only tcp and udp"
        )
    address = f"{mapping['hostIP']}/" if mapping.get("hostIP") else ""
    return option, f"{address}{mapping['hostPort']}:{mapping['containerPort']}"
