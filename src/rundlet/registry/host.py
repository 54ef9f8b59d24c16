"""Which host a name stands for, and where a registry may send us.

domain     as in a reference       docker.io, quay.io, localhost:5000
authority  what is connected to    registry-1.docker.io, quay.io, localhost:5000
origin     scheme and authority    https://quay.io, http://localhost:5000
"""

import ipaddress
import re
from collections.abc import Container
from urllib.parse import SplitResult, urljoin, urlsplit

from rundlet.errors import Unavailable

_AUTHORITIES = {"docker.io": "registry-1.docker.io"}
_AUTHORITY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_PORTS = {"http": 80, "https": 443}


def registry_authority(domain: str) -> str:
    """The host that serves the distribution API for references of `domain`."""
    return _AUTHORITIES.get(domain, domain)


def host_of(authority: str) -> str:
    """`authority` without its port and brackets, in lower case."""
    return (urlsplit(f"//{authority}").hostname or "").lower()


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by name or number; no name is looked up."""
    return host == "localhost" or _has_address(host, "is_loopback")


def is_local(host: str) -> bool:
    """Loopback, and 0.0.0.0 and :: which Linux connects to loopback."""
    return is_loopback(host) or _has_address(host, "is_unspecified")


def _has_address(host: str, quality: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), quality))
    except ValueError:
        return False


def is_listed(authority: str, hosts: Container[str]) -> bool:
    """Whether `hosts` names `authority`, with its port, for all ports, or all hosts by "*"."""
    return authority in hosts or host_of(authority) in hosts or "*" in hosts


def split_origin(url: str) -> tuple[str, str]:
    """(scheme, authority) of `url`; default ports are left out, so that equal origins are equal."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port or _PORTS.get(parts.scheme)
    return parts.scheme, host if port == _PORTS.get(parts.scheme) else f"{host}:{port}"


def same_origin(one: str, other: str) -> bool:
    return split_origin(one) == split_origin(other)


def follow_link(origin: str, base_url: str, location: str) -> str:
    """The absolute URL of a `location` that the registry at `origin` sent us to.

    The registry is not trusted: it cannot lead us from TLS to plain HTTP, from
    outside to this machine's own services, nor to anything but a host over HTTP.
    Raises Unavailable.
    """
    reason = ""
    try:
        url = urljoin(base_url, location)
        reason = _find_fault(origin, urlsplit(url))
    except ValueError:
        reason = "it is malformed"
    if reason:
        raise Unavailable(f"registry {split_origin(origin)[1]}: sent us to {location[:200]!r}: {reason}")
    return url


def _find_fault(origin: str, target: SplitResult) -> str:
    if target.scheme not in _PORTS or not _AUTHORITY.fullmatch(target.netloc) or target.port == 0:
        return "not an HTTP address that we follow"
    if target.scheme == "http" and not origin.startswith("http:"):
        return "that would leave TLS for plain HTTP"
    if is_local((target.hostname or "").lower()) and not is_local(host_of(split_origin(origin)[1])):
        return "that is this machine itself"
    return ""
