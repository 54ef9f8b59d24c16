import ipaddress
import multiprocessing
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import ResourceExhausted
from rundlet.network.call import Owner
from rundlet.network.leases import Leases
from rundlet.network.ranges import RangeConf, parse_range


def range_sets(*subnets):
    return [[parse_range(RangeConf(subnet), "range")] for subnet in subnets]


def reserve(leases, name, *subnets):
    return [str(candidate.ip) for candidate in leases.reserve(range_sets(*subnets), Owner(name, "eth0"))]


def test_tree_is_the_reference_plugins(tmp_path):
    leases = Leases(str(tmp_path), "mynet")

    assert reserve(leases, "pod", "10.88.0.0/16", "fd00::/64") == ["10.88.0.2", "fd00::2"]

    directory = tmp_path / "mynet"
    assert sorted(os.listdir(directory)) == [
        "10.88.0.2",
        "fd00::2",
        "last_reserved_ip.0",
        "last_reserved_ip.1",
        "lock",
    ]
    assert (directory / "10.88.0.2").read_bytes() == b"pod\r\neth0"
    assert (directory / "last_reserved_ip.1").read_text() == "fd00::2"


def test_next_address_follows_the_last_given(tmp_path):
    leases = Leases(str(tmp_path), "mynet")

    assert reserve(leases, "a", "10.0.0.0/24") == ["10.0.0.2"]
    leases.release(Owner("a", "eth0"))
    assert reserve(leases, "b", "10.0.0.0/24") == ["10.0.0.3"]


def test_what_was_given_is_given_back_whatever_the_caller_thinks_it_was(tmp_path):
    leases = Leases(str(tmp_path), "mynet")
    owner, other = Owner("a", "eth0"), Owner("b", "eth0")
    for choose in (
        lambda given, _: given,
        lambda given, theirs: [given[0], theirs[1]],
        lambda _given, _theirs: ["10.0.0.77"],
        lambda _given, _theirs: [],
    ):
        given = reserve(leases, "a", "10.0.0.0/24", "fd00::/64")
        theirs = reserve(leases, "b", "10.0.0.0/24", "fd00::/64")

        leases.release(owner, list(map(ipaddress.ip_address, choose(given, theirs))))

        assert set(leases.owners()) == set(theirs)
        leases.release(other)


@pytest.mark.parametrize("text", ["", "nonsense", "192.0.2.1"])
def test_unreadable_last_address_is_only_a_lost_hint(tmp_path, text):
    leases = Leases(str(tmp_path), "mynet")
    reserve(leases, "a", "10.0.0.0/24")
    (tmp_path / "mynet" / "last_reserved_ip.0").write_text(text)

    assert reserve(leases, "b", "10.0.0.0/24") == ["10.0.0.3"]


def test_exhausted_set_takes_nothing_from_the_others(tmp_path):
    leases = Leases(str(tmp_path), "mynet")
    for number in range(5):
        reserve(leases, f"pod{number}", "10.0.0.0/29")

    with pytest.raises(ResourceExhausted, match=r"no address is left in 10\.0\.0\.0/29"):
        reserve(leases, "late", "fd00::/64", "10.0.0.0/29")

    assert "late" not in {owner.container_id for owner in leases.owners().values()}


def test_release_is_idempotent_and_needs_no_directory(tmp_path):
    leases = Leases(str(tmp_path), "mynet")

    leases.release(Owner("nobody", "eth0"))

    assert os.listdir(tmp_path) == []


def test_release_leaves_the_containers_other_interface(tmp_path):
    leases = Leases(str(tmp_path), "mynet")
    reserve(leases, "pod", "10.0.0.0/24")
    leases.reserve(range_sets("10.0.0.0/24"), Owner("pod", "eth1"))

    leases.release(Owner("pod", "eth0"))

    assert leases.owners() == {"10.0.0.3": Owner("pod", "eth1")}


def test_lease_of_an_old_plugin_without_interface_is_released(tmp_path):
    leases = Leases(str(tmp_path), "mynet")
    reserve(leases, "pod", "10.0.0.0/24")
    (tmp_path / "mynet" / "10.0.0.9").write_text("old")

    leases.release(Owner("old", "eth0"))

    assert not (tmp_path / "mynet" / "10.0.0.9").exists()


STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "release"]), st.integers(0, 7)), max_size=30)


@given(STEPS)
def test_no_address_is_given_twice_and_none_is_lost(steps):
    subnet = "10.0.0.0/29"
    pool = {f"10.0.0.{n}" for n in range(2, 7)}
    with tempfile.TemporaryDirectory() as directory:
        leases = Leases(directory, "mynet")
        held = {}
        for action, number in steps:
            name = f"pod{number}"
            if action == "release":
                leases.release(Owner(name, "eth0"))
                held.pop(name, None)
            elif name not in held and len(held) < len(pool):
                (address,) = reserve(leases, name, subnet)
                assert address in pool
                assert address not in held.values()
                held[name] = address
            elif name not in held:
                with pytest.raises(ResourceExhausted):
                    reserve(leases, name, subnet)
        assert leases.owners() == {address: Owner(name, "eth0") for name, address in held.items()}

        for name in held:
            leases.release(Owner(name, "eth0"))
        again = {reserve(leases, f"again{n}", subnet)[0] for n in range(len(pool))}
        assert again == pool


def churn(directory, worker, results):
    """Take and give back in turns; keep the last ten."""
    leases = Leases(directory, "mynet")
    for turn in range(30):
        (address,) = reserve(leases, f"worker{worker}-{turn}", "10.0.0.0/25")
        if turn < 20:
            leases.release(Owner(f"worker{worker}-{turn}", "eth0"))
        else:
            results.put((f"worker{worker}-{turn}", address))


def test_parallel_processes_never_share_an_address(tmp_path):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    workers = [fork.Process(target=churn, args=(str(tmp_path), n, results)) for n in range(4)]
    for worker in workers:
        worker.start()
    kept = dict(results.get(timeout=30) for _ in range(40))
    for worker in workers:
        worker.join(10)

    assert len(set(kept.values())) == 40
    owners = Leases(str(tmp_path), "mynet").owners()
    assert {owner.container_id: address for address, owner in owners.items()} == kept
