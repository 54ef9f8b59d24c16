"""Ids of user namespaces as values: auto, keep-id, nomap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from rundlet.local.options import Namespaces, RunOptions
from rundlet.local.userids import HostIds, choose_ids, wants_ids
from rundlet.rootless.subid import Range

ROOT = HostIds([Range(0, 2**32 - 1)], [Range(1000, 200_000)], [Range(70_000, 5)])
USER = HostIds([Range(0, 1), Range(1, 65536)], [Range(1, 65536)], user=(1000, 100))


def choose(mode: str, host: HostIds = ROOT, taken: tuple[Range, ...] = ()) -> RunOptions:
    return choose_ids(RunOptions(namespaces=Namespaces(user=mode)), host, taken)


def test_auto_takes_a_range_that_nobody_has() -> None:
    first = choose("auto:size=1000").namespaces
    assert first.uid_maps == first.gid_maps == ((0, 1000, 1000),)
    second = choose("auto:size=1000", taken=(Range(1000, 1000),)).namespaces
    assert second.uid_maps == ((0, 2000, 1000),)
    assert choose("auto", taken=(Range(1000, 5000),)).namespaces.uid_maps == ((0, 70_005, 65536),)


def test_auto_ends_where_all_ids_are_taken() -> None:
    with pytest.raises(ResourceExhausted, match="no 65536 ids"):
        choose("auto", taken=(Range(0, 200_000),))


def test_keep_id_is_the_user_inside() -> None:
    kept = choose("keep-id", USER)
    assert kept.namespaces.uid_maps == ((0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536))
    assert kept.namespaces.gid_maps == ((0, 1, 100), (100, 0, 1), (101, 101, 65436))
    assert kept.user == "1000:100"
    other = choose("keep-id:uid=5,gid=0", USER)
    assert other.namespaces.uid_maps[1] == (5, 0, 1)
    assert other.user == "5:0"


def test_nomap_leaves_the_user_out() -> None:
    assert choose("nomap", USER).namespaces.uid_maps == ((0, 1, 65536),)


@pytest.mark.parametrize("mode", ["keep-id", "nomap"])
def test_root_has_no_id_to_keep(mode: str) -> None:
    with pytest.raises(InvalidArgument, match="only an ordinary user"):
        choose(mode)


def test_a_user_with_one_id_has_none_to_give() -> None:
    with pytest.raises(FailedPrecondition, match="one id"):
        choose("keep-id", HostIds([Range(0, 1)], [], user=(1000, 1000)))


def test_maps_that_are_written_out_are_left_as_they_are() -> None:
    asked = RunOptions(namespaces=Namespaces(user="auto", uid_maps=((0, 5, 5),)))
    assert not wants_ids(asked)
    assert wants_ids(RunOptions(namespaces=Namespaces(user="auto")))


@given(st.integers(0, 70_000), st.lists(st.integers(1, 40_000), min_size=1, max_size=4))
def test_keep_id_maps_each_id_once_and_no_part_crosses_a_row(uid: int, lengths: list[int]) -> None:
    rows, at = [Range(0, 1)], 1
    for length in lengths:
        rows.append(Range(at, length))
        at += length
    maps = choose("keep-id", HostIds(rows, rows[1:], user=(uid, uid))).namespaces.uid_maps
    assert (uid, 0, 1) in maps
    assert sum(count for _, _, count in maps) == at
    for pick in (0, 1):
        spans = sorted((part[pick], part[pick] + part[2]) for part in maps)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
    for _, first, count in maps:
        assert any(row.first <= first and first + count <= row.first + row.length for row in rows)
