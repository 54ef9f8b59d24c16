"""Which address next: host-local's ranges and their round robin, without any file.

A range set is one or more ranges of one family; a pod gets one address from
each set.  The search begins after the last address given and goes round once.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.netlink.address import IpAddress, IpNetwork


class RangeConf(Struct, frozen=True, rename="camel"):
    """One range as it stands in the configuration; "" is the default of `parse_range`."""

    subnet: str
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


class AddressRange(NamedTuple):
    """Addresses `first` to `last` as numbers, both included, without the gateway's."""

    subnet: IpNetwork
    first: int
    last: int
    gateway: IpAddress

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.first <= number <= self.last


class Candidate(NamedTuple):
    """An address and the range that it is from."""

    ip: IpAddress
    range: AddressRange


def parse_range(conf: RangeConf, what: str) -> AddressRange:
    """The range with its defaults: all of the subnet but network and broadcast address, gateway the first."""
    try:
        subnet = ipaddress.ip_network(conf.subnet)
    except ValueError as error:
        raise InvalidArgument(f"{what}: subnet: {error}") from error
    if subnet.num_addresses < 4:
        raise InvalidArgument(f"{what}: subnet: {subnet} is too small to give addresses from")
    network = int(subnet.network_address)
    # IPv6 has no broadcast address.
    end = network + subnet.num_addresses - (2 if subnet.version == 4 else 1)
    first = _parse_member(conf.range_start, subnet, f"{what}: rangeStart") or network + 1
    last = _parse_member(conf.range_end, subnet, f"{what}: rangeEnd") or end
    if first > last:
        raise InvalidArgument(f"{what}: rangeStart {conf.range_start} is behind rangeEnd {conf.range_end}")
    gateway = _parse_member(conf.gateway, subnet, f"{what}: gateway") or network + 1
    return AddressRange(subnet, first, last, subnet.network_address + (gateway - network))


def _parse_member(text: str, subnet: IpNetwork, what: str) -> int:
    """The number of an address of `subnet`, 0 for ""."""
    if not text:
        return 0
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {error}") from error
    if address.version != subnet.version or address not in subnet:
        raise InvalidArgument(f"{what}: {address} is not in subnet {subnet}")
    return int(address)


def check_range_sets(range_sets: Sequence[Sequence[AddressRange]], what: str) -> None:
    """Each set has one family, and no address stands in two ranges."""
    for n, ranges in enumerate(range_sets):
        if len({found.subnet.version for found in ranges}) != 1:
            raise InvalidArgument(f"{what}: ranges[{n}]: needs ranges, all IPv4 or all IPv6")
    flat = sorted(
        (found for ranges in range_sets for found in ranges),
        key=lambda found: (found.subnet.version, found.first),
    )
    for left, right in pairwise(flat):
        if left.subnet.version == right.subnet.version and right.first <= left.last:
            raise InvalidArgument(f"{what}: ranges of {left.subnet} and {right.subnet} overlap")


def candidates(ranges: Sequence[AddressRange], last_given: IpAddress | None) -> Iterator[Candidate]:
    """Every address of the set once, in the order in which they are to be tried."""
    for found, numbers in _segments(ranges, last_given):
        network, gateway = int(found.subnet.network_address), int(found.gateway)
        for number in numbers:
            if number != gateway:
                yield Candidate(found.subnet.network_address + (number - network), found)


def _segments(
    ranges: Sequence[AddressRange], last_given: IpAddress | None
) -> Iterable[tuple[AddressRange, range]]:
    whole = [(found, range(found.first, found.last + 1)) for found in ranges]
    for n, found in enumerate(ranges):
        if last_given is not None and last_given.version == found.subnet.version and int(last_given) in found:
            here = int(last_given)
            after = (found, range(here + 1, found.last + 1))
            before = (found, range(found.first, here + 1))
            return [after, *whole[n + 1 :], *whole[:n], before]
    return whole
