"""Settings under /proc/sys of the network namespace that the calling thread is in."""

import os

from rundlet.network.leases import storage_error

_ROOT = "/proc/sys"


def read_sysctl(name: str) -> str:
    """`name` as a path: "net/ipv4/ip_forward".  Raises OSError."""
    with open(f"{_ROOT}/{name}", encoding="ascii") as file:
        return file.read().strip()


def write_sysctl(name: str, value: str) -> None:
    """Only when it is not so: writing forwarding again walks all interfaces under the kernel's network lock."""
    try:
        if read_sysctl(name) != value:
            with open(f"{_ROOT}/{name}", "w", encoding="ascii") as file:
                file.write(value)
    except OSError as error:
        raise storage_error(f"set {name} to {value}", error) from error


def skip_address_detection(interface: str) -> None:
    """Let an interface that is still down have its link-local IPv6 address as soon as it is up.

    Until the second of duplicate address detection is over the host cannot ask for
    its neighbours' addresses there, and what it forwards to pods waits.
    """
    write_sysctl(f"net/ipv6/conf/{interface}/accept_dad", "0")


def enable_forwarding(version: int) -> None:
    """Forwarding is per network namespace, and off in a new one.

    A host that forwards IPv6 no longer heeds router advertisements unless told to (accept_ra 2,
    kernel's ip-sysctl.rst): an interface that has its address from them would lose it.
    """
    if version == 4:
        write_sysctl("net/ipv4/ip_forward", "1")
    elif read_sysctl("net/ipv6/conf/all/forwarding") != "1":
        for interface in os.listdir(f"{_ROOT}/net/ipv6/conf"):
            if interface not in ("all", "default") and _heeds_routers(interface):
                write_sysctl(f"net/ipv6/conf/{interface}/accept_ra", "2")
        write_sysctl("net/ipv6/conf/all/forwarding", "1")


def _heeds_routers(interface: str) -> bool:
    try:
        return read_sysctl(f"net/ipv6/conf/{interface}/accept_ra") == "1"
    except OSError:
        return False  # it has gone meanwhile
