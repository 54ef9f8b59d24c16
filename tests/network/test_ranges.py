import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.network.ranges import RangeConf, candidates, check_range_sets, parse_range


def parse(**conf):
    return parse_range(RangeConf(**conf), "ranges[0]")


def addresses(ranges, last=None):
    return [candidate.ip for candidate in candidates(ranges, last)]


def test_defaults_leave_out_network_broadcast_and_gateway():
    found = parse(subnet="10.0.0.0/29")

    assert str(found.gateway) == "10.0.0.1"
    assert [str(ip) for ip in addresses([found])] == [f"10.0.0.{n}" for n in range(2, 7)]


def test_ipv6_has_no_broadcast_address():
    found = parse(subnet="fd00::/125")

    assert str(addresses([found])[-1]) == "fd00::7"


def test_limits_and_gateway_of_ones_own():
    found = parse(subnet="10.0.0.0/24", range_start="10.0.0.10", range_end="10.0.0.12", gateway="10.0.0.11")

    assert [str(ip) for ip in addresses([found])] == ["10.0.0.10", "10.0.0.12"]


@pytest.mark.parametrize(
    "conf",
    [
        {"subnet": "10.0.0.0/31"},
        {"subnet": "10.0.0.1/24"},
        {"subnet": "nonsense"},
        {"subnet": "10.0.0.0/24", "range_start": "10.0.1.1"},
        {"subnet": "10.0.0.0/24", "range_end": "fd00::1"},
        {"subnet": "10.0.0.0/24", "range_start": "10.0.0.9", "range_end": "10.0.0.8"},
        {"subnet": "10.0.0.0/24", "gateway": "nonsense"},
    ],
)
def test_wrong_range_is_refused_by_name(conf):
    with pytest.raises(InvalidArgument, match=r"^ranges\[0\]: "):
        parse(**conf)


def test_overlapping_sets_are_refused():
    left, right = parse(subnet="10.0.0.0/24"), parse(subnet="10.0.0.128/25")

    with pytest.raises(InvalidArgument, match="overlap"):
        check_range_sets([[left], [right]], "ipam")


def test_set_of_two_families_is_refused():
    with pytest.raises(InvalidArgument, match="all IPv4 or all IPv6"):
        check_range_sets([[parse(subnet="10.0.0.0/24"), parse(subnet="fd00::/64")]], "ipam")


def test_adjacent_ranges_are_fine():
    check_range_sets([[parse(subnet="10.0.0.0/25"), parse(subnet="10.0.0.128/25")]], "ipam")


RANGE_SETS = st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True).map(
    lambda blocks: [parse(subnet=f"10.0.0.{block * 8}/29") for block in blocks]
)


@given(RANGE_SETS, st.none() | st.integers(0, 64))
def test_every_address_comes_once_wherever_the_search_begins(ranges, last):
    start = None if last is None else ipaddress.ip_address(f"10.0.0.{last}")

    found = addresses(ranges, start)

    assert len(found) == len(set(found)) == 5 * len(ranges)
    assert set(found) == set(addresses(ranges))


@given(RANGE_SETS, st.data())
def test_search_goes_on_after_the_last_address_given(ranges, data):
    order = addresses(ranges)
    last = data.draw(st.sampled_from(order))

    found = addresses(ranges, last)

    assert found[-1] == last
    after = dict(pairwise([*order, order[0]]))
    assert all(after[left] == right for left, right in pairwise(found))
