"""Which ids a user's namespace has."""

from hypothesis import given
from hypothesis import strategies as st

from rundlet.rootless.mapping import plan_mapping
from rundlet.rootless.subid import Range, parse_ranges

RANGES = (Range(100000, 65536),)


def test_ranges_are_found_by_name_and_by_number() -> None:
    text = "anna:100000:65536\n# a comment\nbert:1:2\n1000:300000:10\nanna:x:1\nanna:5:0\nanna:7\n"
    assert parse_ranges(text, "anna", 1000) == (Range(100000, 65536), Range(300000, 10))
    assert parse_ranges(text, "", 1000) == (Range(300000, 10),)
    assert parse_ranges(text, "carl", 7) == ()


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    assert all(item.length > 0 for item in parse_ranges(text, "anna", 1000))


def test_with_ranges_and_helpers_root_is_followed_by_the_ranges() -> None:
    mapping = plan_mapping(1000, 1000, (*RANGES, Range(300000, 10)), RANGES, has_helpers=True)
    assert mapping.uid_map == ((0, 1000, 1), (1, 100000, 65536), (65537, 300000, 10))
    assert not mapping.is_single
    assert mapping.describe() == "user namespace with root as 1000 and 65547 ids by newuidmap"


def test_without_ranges_or_helpers_there_is_one_id() -> None:
    for subuids, subgids, has_helpers in (((), RANGES, True), (RANGES, (), True), (RANGES, RANGES, False)):
        mapping = plan_mapping(1000, 100, subuids, subgids, has_helpers=has_helpers)
        assert (mapping.uid_map, mapping.gid_map) == (((0, 1000, 1),), ((0, 100, 1),))
        assert mapping.is_single
        assert mapping.describe() == "user namespace with root as 1000 and no other id"


@given(
    st.integers(0, 300), st.lists(st.tuples(st.integers(0, 300), st.integers(1, 50)), min_size=1, max_size=1)
)
def test_the_own_id_is_mapped_once(uid: int, found: list[tuple[int, int]]) -> None:
    ranges = [Range(*one) for one in found]
    uid_map = plan_mapping(uid, uid, ranges, ranges, has_helpers=True).uid_map
    outside = [first + offset for _, first, count in uid_map for offset in range(count)]
    inside = [first + offset for first, _, count in uid_map for offset in range(count)]
    assert len(set(outside)) == len(outside)
    assert inside == list(range(len(inside)))
    assert set(outside) == {uid} | {first + offset for first, count in found for offset in range(count)}
