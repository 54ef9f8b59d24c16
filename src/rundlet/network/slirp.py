"""slirp4netns(1): a pod's network as sockets of an ordinary user's process.

    pod's namespace                 slirp4netns               host's namespace
    eth0 10.0.2.100/24  ─ tap ────▶ a TCP/IP stack ─────────▶ sockets of the user
                                    10.0.2.2 gateway
                                    10.0.2.3 forwards to the host's name servers

Its API is a unix stream socket: one JSON document each way, then the end of the stream.
"""

import json
import os
import socket
from typing import Any, Final

from rundlet.errors import AlreadyExists, InvalidArgument, Unavailable
from rundlet.spec.cni import Dns, Interface, IpConfig, Result, Route

PROGRAM: Final = "slirp4netns"
RESOLVER: Final = "10.0.2.3"
_ADDRESS, _GATEWAY, _PREFIX = "10.0.2.100", "10.0.2.2", 24
_MTU: Final = 65520
_TIMEOUT_S: Final = 5.0
_ANSWER_MAX_BYTES: Final = 1 << 16


def plan_words(netns_path: str, ifname: str, ready_fd: int, api_socket: str) -> tuple[str, ...]:
    """The program's words; it writes "1" on `ready_fd` when the interface is up."""
    return (
        PROGRAM,
        "--configure",
        f"--mtu={_MTU}",
        "--disable-host-loopback",  # what listens on the host's 127.0.0.1 is not for containers
        "--enable-sandbox",
        "--enable-seccomp",
        "--netns-type=path",
        f"--ready-fd={ready_fd}",
        f"--api-socket={api_socket}",
        netns_path,
        ifname,
    )


def describe_result(ifname: str, netns_path: str) -> Result:
    """What a pod has then."""
    return Result(
        interfaces=(Interface(ifname, sandbox=netns_path),),
        ips=(IpConfig(f"{_ADDRESS}/{_PREFIX}", _GATEWAY, 0),),
        routes=(Route("0.0.0.0/0", _GATEWAY),),
        dns=Dns(nameservers=(RESOLVER,)),
    )


def publish(api_socket: str, mapping: dict[str, Any]) -> int:
    """Have it listen on a port of the host; its number for that.

    `mapping` is one of CNI's portMappings.  Raises AlreadyExists for a port that cannot be had.
    """
    what = f"host port {mapping['hostPort']}/{mapping['protocol']}"
    answer = _ask(api_socket, _plan_request(mapping), what)
    if "error" in answer:
        raise AlreadyExists(
            f"{what}: somebody has it, or it is not this user's to take",
            hint="choose another; ports below sysctl net.ipv4.ip_unprivileged_port_start need root",
        )
    number: int = answer["return"]["id"]
    return number


def withdraw(api_socket: str, number: int) -> None:
    """One that it does not have is no error."""
    _ask(api_socket, {"execute": "remove_hostfwd", "arguments": {"id": number}}, f"forwarded port {number}")


def _plan_request(mapping: dict[str, Any]) -> dict[str, Any]:
    protocol = mapping["protocol"]
    if protocol not in ("tcp", "udp"):
        raise InvalidArgument(f"host port {mapping['hostPort']}/{protocol}: without root only tcp and udp")
    arguments = {
        "proto": protocol,
        "host_addr": mapping.get("hostIP") or "0.0.0.0",  # noqa: S104 - every address, as asked
        "host_port": mapping["hostPort"],
        "guest_addr": _ADDRESS,
        "guest_port": mapping["containerPort"],
    }
    return {"execute": "add_hostfwd", "arguments": arguments}


def _ask(path: str, request: dict[str, Any], what: str) -> dict[str, Any]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(path)
            sock.sendall(json.dumps(request).encode())
            sock.shutdown(socket.SHUT_WR)
            answer: dict[str, Any] = json.loads(_read_all(sock))
    except (OSError, ValueError) as error:
        raise Unavailable(f"{what}: {PROGRAM} does not answer: {error}") from error
    return answer


def _read_all(sock: socket.socket) -> bytes:
    answer = b""
    while len(answer) < _ANSWER_MAX_BYTES and (chunk := sock.recv(_ANSWER_MAX_BYTES)):
        answer += chunk
    return answer


def remove_socket(directory: str, name: str) -> None:
    try:
        os.unlink(f"{directory}/{name}")
    except FileNotFoundError:
        pass
