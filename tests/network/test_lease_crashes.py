"""A process that ends at any named step of keeping leases, in process or as an executable: none given twice, none lost."""

import errno
import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rundlet.errors import ResourceExhausted
from rundlet.failpoint import END, FILE_BYTES, Failpoints, open_observer
from rundlet.network.call import Owner
from rundlet.network.install import install_plugins
from rundlet.network.leases import Leases
from rundlet.network.ranges import RangeConf, parse_range
from rundlet.step import watch

SUBNETS = ("10.0.0.0/28", "fd00::/124")
SETS = [[parse_range(RangeConf(subnet), "test")] for subnet in SUBNETS]
CAPACITY = 13  # of the IPv4 set: 16 less network, broadcast and gateway
POINTS = tuple(
    f"lease.{name}:{when}" for name in ("write", "rename", "release") for when in ("before", "after")
)
FAULTS = (END, errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOMEM)


class Book:
    """What is known of addresses by whoever asked for them: `held` for certain, `doubtful` after a crash."""

    def __init__(self, directory: Path) -> None:
        path = directory / "failpoints"
        path.write_bytes(bytes(FILE_BYTES))
        self.failpoints = str(path)
        self.points = Failpoints(self.failpoints)
        self.leases = Leases(str(directory), "mynet")
        self.held: dict[Owner, set[str]] = {}
        self.doubtful: set[Owner] = set()

    def add(self, owner: Owner, did: bool) -> None:
        if did:
            self.held[owner] = self._of(owner)
            self.doubtful.discard(owner)
        else:
            self.doubtful.add(owner)

    def delete(self, owner: Owner, did: bool) -> None:
        self.held.pop(owner, None)
        if did:
            self.doubtful.discard(owner)
        else:
            self.doubtful.add(owner)

    def _of(self, owner: Owner) -> set[str]:
        return {ip for ip, other in self.leases.owners().items() if other == owner}

    def check(self) -> None:
        """Whoever has addresses keeps them; the rest is of those in doubt."""
        found = self.leases.owners()
        assert set(found.values()) <= self.held.keys() | self.doubtful
        for owner, ips in self.held.items():
            assert len(ips) == len(SUBNETS)
            assert self._of(owner) == ips

    def check_nothing_is_lost(self) -> None:
        """GC frees what is in doubt, and then everything that nobody has can be given."""
        self.leases.collect(self.held.keys())
        assert len(self.leases.owners()) == len(SUBNETS) * len(self.held)
        for number in range(CAPACITY - len(self.held)):
            self.leases.reserve(SETS, Owner(f"fresh{number}", "eth0"))
        with pytest.raises(ResourceExhausted):
            self.leases.reserve(SETS, Owner("one-too-many", "eth0"))
        self.check_owners()

    def check_owners(self) -> None:
        for owner, ips in self.held.items():
            assert self._of(owner) == ips


def do_in_a_process(book: Book, work: Callable[[], object]) -> bool:
    """Whether the work came to its end in a process of its own, whose steps are watched."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            watch(open_observer(book.failpoints))
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


STEPS = st.tuples(st.booleans(), st.integers(0, 8), st.sampled_from(("", *POINTS)), st.sampled_from(FAULTS))


@given(st.lists(STEPS, min_size=4, max_size=12))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_adds_and_deletions_with_crashes(tmp_path_factory, steps) -> None:
    book = Book(tmp_path_factory.mktemp("leases"))
    for gives, number, point, fault in steps:
        owner = Owner(f"pod{number}", "eth0")
        book.points.arm(point or "nowhere:before", fault)
        if gives and owner not in book.held:
            book.leases.release(owner)  # what an attempt that died has left goes first
            book.add(owner, do_in_a_process(book, lambda owner=owner: book.leases.reserve(SETS, owner)))
        elif not gives:
            book.delete(owner, do_in_a_process(book, lambda owner=owner: book.leases.release(owner)))
        book.points.let_go()
        book.check()
    book.check_nothing_is_lost()


# -- the executable ---------------------------------------------------------------------------


class Executable:
    """host-local as other runtimes call it."""

    def __init__(self, directory: Path, book: Book) -> None:
        install_plugins(str(directory / "bin"))
        self._program = str(directory / "bin" / "host-local")
        ranges = [[{"subnet": subnet}] for subnet in SUBNETS]
        ipam = {"type": "host-local", "dataDir": str(directory), "ranges": ranges}
        self._conf = json.dumps({"cniVersion": "1.0.0", "name": "mynet", "type": "bridge", "ipam": ipam})
        self._environment = os.environ | {
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(directory / "bin"),
            "RUNDLET_FAILPOINTS": book.failpoints,
        }

    def run(self, command: str, owner: Owner) -> bool:
        environment = self._environment | {"CNI_COMMAND": command, "CNI_CONTAINERID": owner.container_id}
        done = subprocess.run(
            [self._program], input=self._conf.encode(), env=environment, capture_output=True, check=False
        )
        return done.returncode == 0


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.mark.kernel
@pytest.mark.parametrize("fault", [END, errno.ENOSPC], ids=["killed", "ENOSPC"])
def test_the_executable_is_stopped_at_every_step(book: Book, tmp_path: Path, fault: int) -> None:
    plugin = Executable(tmp_path, book)
    stays = Owner("stays", "eth0")
    book.add(stays, plugin.run("ADD", stays))
    for number, point in enumerate(random.Random(1).sample(POINTS, len(POINTS))):
        command = "DEL" if "release" in point else "ADD"
        owner = Owner(f"pod{number}", "eth0")
        if command == "DEL":
            book.leases.reserve(SETS, owner)
        book.points.arm(point, fault)
        was_done = plugin.run(command, owner)
        assert book.points.is_reached()
        book.points.let_go()
        assert not was_done
        book.doubtful.add(owner)
        book.check()
    book.check_nothing_is_lost()
