"""No address is given twice and none is lost, whenever a process is killed."""

import os
import random
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rundlet.errors import ResourceExhausted
from rundlet.network.call import Owner
from rundlet.network.leases import Leases
from rundlet.network.ranges import RangeConf, parse_range

SUBNETS = ("10.0.0.0/26", "fd00::/122")
SETS = [[parse_range(RangeConf(subnet), "test")] for subnet in SUBNETS]
CAPACITY = 61  # of the IPv4 set: 64 less network, broadcast and gateway


def give_and_take(leases: Leases, prefix: str, journal: int, dice: random.Random) -> None:
    """Note each pod before its addresses are asked for, and what it got; give some back."""
    mine: list[Owner] = []
    for n in range(100_000):
        if mine and (dice.random() < 0.4 or len(mine) > 20):
            owner = mine.pop(dice.randrange(len(mine)))
            os.write(journal, f"end {owner.container_id}\n".encode())
            leases.release(owner)
            continue
        owner = Owner(f"{prefix}-{n}", "eth0")
        try:
            given = leases.reserve(SETS, owner)
        except ResourceExhausted:
            continue
        mine.append(owner)
        os.write(journal, f"got {owner.container_id} {' '.join(str(one.ip) for one in given)}\n".encode())


def replay(path) -> dict[str, tuple[str, ...]]:
    """The pods that have addresses by the journal."""
    alive: dict[str, tuple[str, ...]] = {}
    for line in path.read_text().splitlines():
        verb, pod, *ips = line.split()
        if verb == "got":
            alive[pod] = tuple(ips)
        else:
            alive.pop(pod)
    return alive


@pytest.mark.parametrize("seed", range(6))
def test_killed_in_the_middle(tmp_path, seed):
    """Two processes at once are killed; what is theirs by the journal stays theirs, the rest is collected."""
    dice = random.Random(seed)
    leases = Leases(str(tmp_path), "mynet")
    journal = tmp_path / "journal"
    for attempt in range(4):
        fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        children = []
        for worker in range(2):
            child = os.fork()
            if child == 0:
                try:
                    give_and_take(leases, f"{attempt}-{worker}", fd, random.Random(dice.random()))
                finally:
                    os._exit(1)
            children.append(child)
        time.sleep(dice.uniform(0.005, 0.08))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(fd)

        alive = replay(journal)
        given = [ip for ips in alive.values() for ip in ips]
        assert len(given) == len(set(given)), "an address was given twice"
        leases.collect({Owner(pod, "eth0") for pod in alive})
        assert set(leases.owners()) == set(given), "an address was lost, or taken from its pod"
    # All that is left can be given.
    room = CAPACITY - len(replay(journal))
    fresh = [leases.reserve(SETS, Owner(f"fresh-{n}", "eth0"))[0].ip for n in range(room)]
    assert len({str(ip) for ip in fresh} | set(leases.owners())) == len(leases.owners())
    with pytest.raises(ResourceExhausted):
        leases.reserve(SETS, Owner("one-too-many", "eth0"))


def test_lease_whose_writing_was_cut_off_is_collected(tmp_path):
    """A full disk or a crash of the reference plugin leaves a file without an owner."""
    leases = Leases(str(tmp_path), "mynet")
    leases.reserve(SETS, Owner("pod", "eth0"))
    (tmp_path / "mynet" / "10.0.0.9").write_text("")
    (tmp_path / "mynet" / "10.0.0.10").write_text("older-plugin")

    leases.collect({Owner("pod", "eth0"), Owner("older-plugin", "eth0")})

    names = {path.name for path in (tmp_path / "mynet").iterdir()}
    assert "10.0.0.9" not in names
    assert {"10.0.0.2", "fd00::2", "10.0.0.10"} <= names


class LeaseBook(RuleBasedStateMachine):
    """Leases beside a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = f"/tmp/rundlet-leases-{os.getpid()}-{id(self)}"
        self.leases = Leases(self.directory, "mynet")
        self.given: dict[Owner, set[str]] = {}

    @rule(pod=st.integers(0, 30))
    def reserve(self, pod: int) -> None:
        owner = Owner(f"pod{pod}", "eth0")
        if owner in self.given:
            return
        chosen = {str(one.ip) for one in self.leases.reserve(SETS, owner)}
        assert not chosen & {ip for ips in self.given.values() for ip in ips}
        self.given[owner] = chosen

    @rule(pod=st.integers(0, 30))
    def release(self, pod: int) -> None:
        self.leases.release(Owner(f"pod{pod}", "eth0"))
        self.given.pop(Owner(f"pod{pod}", "eth0"), None)

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        valid = data.draw(st.sets(st.sampled_from(sorted(self.given)))) if self.given else set()
        self.leases.collect(valid)
        self.given = {owner: ips for owner, ips in self.given.items() if owner in valid}

    @invariant()
    def agree(self) -> None:
        if os.path.isdir(f"{self.directory}/mynet"):
            found = self.leases.owners()
            assert {ip: found[ip] for ip in sorted(found)} == {
                ip: owner for owner, ips in self.given.items() for ip in ips
            }

    def teardown(self) -> None:
        import shutil

        shutil.rmtree(self.directory, ignore_errors=True)


LeaseBook.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestLeaseBook = LeaseBook.TestCase


@given(st.lists(st.integers(2, 60), min_size=1, max_size=5, unique=True))
@settings(max_examples=6, deadline=None)
def test_asked_for_addresses_are_never_given_to_others(tmp_path_factory, numbers):
    import ipaddress

    leases = Leases(str(tmp_path_factory.mktemp("leases")), "mynet")
    wanted = [ipaddress.ip_address(f"10.0.0.{n}") for n in numbers]
    for n, ip in enumerate(wanted):
        assert leases.reserve(SETS[:1], Owner(f"asks{n}", "eth0"), [ip])[0].ip == ip
    others = [leases.reserve(SETS[:1], Owner(f"any{n}", "eth0"))[0].ip for n in range(61 - len(wanted))]
    assert not set(others) & set(wanted)
