"""Addresses that are given, on disk, as the reference host-local plugin keeps them.

    <data dir>/<network>/
        lock                   flock(2), held during every look and change
        10.88.0.2              one file an address: container id, CR LF, interface
        last_reserved_ip.0     the address given last from range set 0

The reference plugin and this one can take turns on one directory.
"""

import fcntl
import ipaddress
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rundlet.errors import (
    AlreadyExists,
    Error,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from rundlet.netlink.address import IpAddress
from rundlet.network.call import Owner
from rundlet.network.ranges import AddressRange, Candidate, candidates
from rundlet.step import step

DEFAULT_DATA_DIR = "/var/lib/cni/networks"

_LOCK = "lock"
_LAST = "last_reserved_ip."
_NEW = ".new"


class Leases:
    """The leases of one network; safe among threads and processes."""

    def __init__(self, data_dir: str, network: str) -> None:
        self._dir = os.path.join(data_dir, network)

    def reserve(
        self,
        range_sets: Sequence[Sequence[AddressRange]],
        owner: Owner,
        wanted: Sequence[IpAddress] = (),
    ) -> list[Candidate]:
        """One address from each set, all or none, of those `wanted` the one that is in the set.

        ResourceExhausted names the set that is used up; AlreadyExists a wanted one that is
        taken, InvalidArgument one that is in no set.
        """
        with self._locked():
            left = list(wanted)
            chosen = [self._choose(n, ranges, left) for n, ranges in enumerate(range_sets)]
            if left:
                raise InvalidArgument(f"address {left[0]} is in no range of {self._dir}")
            try:
                for n, candidate in enumerate(chosen):
                    self._write(str(candidate.ip), f"{owner.container_id}\r\n{owner.ifname}")
                    self._write(f"{_LAST}{n}", str(candidate.ip))
            except OSError:
                self._release(owner)
                raise
            return chosen

    def require_room(self, range_sets: Sequence[Sequence[AddressRange]]) -> None:
        """ResourceExhausted when a set is used up."""
        if not os.path.isdir(self._dir):
            return
        with self._locked():
            for n, ranges in enumerate(range_sets):
                self._choose(n, ranges, [])

    def collect(self, valid: Collection[Owner]) -> None:
        """Give back every address whose owner is not among `valid`, and of those that name none."""
        if os.path.isdir(self._dir):
            containers = {owner.container_id for owner in valid}
            with self._locked():
                for name, found in self._read():
                    # Plugins before 0.7 wrote no interface.
                    kept = found[0] in containers if len(found) == 1 else tuple(found) in valid
                    if not kept:
                        os.unlink(os.path.join(self._dir, name))

    def release(self, owner: Owner, likely: Collection[IpAddress] = ()) -> None:
        """Give back every address of `owner`; none is no error.

        `likely` are those that it was given: where all are its own still, no other is looked at.
        """
        if os.path.isdir(self._dir):
            with self._locked():
                names = [str(ip) for ip in likely if self._belongs(str(ip), owner)]
                if likely and len(names) == len(likely):
                    self._unlink(owner, names)
                else:
                    self._release(owner)

    def owners(self) -> dict[str, Owner]:
        """Who has which address."""
        with self._locked():
            return {name: Owner(*owner) for name, owner in self._read() if len(owner) == 2}

    def _choose(self, number: int, ranges: Sequence[AddressRange], wanted: list[IpAddress]) -> Candidate:
        for ip in wanted:
            for found in ranges:
                if ip.version == found.subnet.version and int(ip) in found:
                    wanted.remove(ip)
                    return self._claim(Candidate(ip, found))
        for candidate in candidates(ranges, self._read_last(number)):
            if not self._is_taken(candidate.ip):
                return candidate
        subnets = ", ".join(str(found.subnet) for found in ranges)
        raise ResourceExhausted(
            f"no address is left in {subnets} for {self._dir}",
            hint="remove pods, or make the range bigger",
        )

    def _is_taken(self, ip: IpAddress) -> bool:
        return os.path.lexists(os.path.join(self._dir, str(ip)))

    def _claim(self, candidate: Candidate) -> Candidate:
        if self._is_taken(candidate.ip):
            raise AlreadyExists(f"address {candidate.ip} of {self._dir} is given to somebody else")
        if candidate.ip == candidate.range.gateway:
            raise InvalidArgument(f"address {candidate.ip} is the gateway's")
        return candidate

    def _read_last(self, number: int) -> IpAddress | None:
        try:
            with open(os.path.join(self._dir, f"{_LAST}{number}"), encoding="ascii") as file:
                return ipaddress.ip_address(file.read().strip())
        except (OSError, ValueError):
            # Only a hint where to begin: an unreadable one must not stop the network.
            return None

    def _release(self, owner: Owner) -> None:
        self._unlink(owner, [name for name in self._names() if self._belongs(name, owner)])

    def _unlink(self, owner: Owner, names: Iterable[str]) -> None:
        for name in names:
            with step("lease.release", owner.container_id):
                os.unlink(os.path.join(self._dir, name))

    def _belongs(self, name: str, owner: Owner) -> bool:
        # Plugins before 0.7 wrote no interface.
        return self._read_words(name) in ([*owner], [owner.container_id])

    def _read(self) -> Iterator[tuple[str, list[str]]]:
        """(file name, words in it) of each lease."""
        return ((name, self._read_words(name)) for name in self._names())

    def _names(self) -> list[str]:
        return [name for name in os.listdir(self._dir) if not name.startswith((_LOCK, _LAST, _NEW))]

    def _read_words(self, name: str) -> list[str]:
        """Nothing of an address that is not given."""
        try:
            fd = os.open(os.path.join(self._dir, name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            return os.read(fd, 4096).decode(errors="replace").split()
        finally:
            os.close(fd)

    def _write(self, name: str, text: str) -> None:
        # By rename, so that a crash leaves no empty file, which would be an address that nobody owns.
        new = os.path.join(self._dir, _NEW)
        with step("lease.write"), open(new, "w", encoding="ascii") as file:
            file.write(text)
        with step("lease.rename"):
            os.rename(new, os.path.join(self._dir, name))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            os.makedirs(self._dir, mode=0o755, exist_ok=True)
            fd = os.open(os.path.join(self._dir, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)
        except OSError as error:
            raise storage_error(f"keep address leases in {self._dir}", error) from error


def storage_error(purpose: str, error: OSError) -> Error:
    """The taxonomy's error for a file that could not be written or read."""
    kind: type[Error] = Unavailable
    if error.errno in {28, 122}:
        kind = ResourceExhausted
    elif isinstance(error, PermissionError):
        kind = PermissionDenied
    return kind(f"cannot {purpose}: {error.strerror or error}")
