from hypothesis import given
from hypothesis import strategies as st

from rundlet.kernel.capability import NAMES, last_capability, mask_of, names_of, read_sets


@given(st.sets(st.sampled_from(NAMES)))
def test_names_and_masks(names: set[str]) -> None:
    assert set(names_of(mask_of(names))) == names


def test_all_names_are_those_of_the_running_kernel_or_fewer() -> None:
    assert len(NAMES) == 41
    assert last_capability() >= 37  # CAP_AUDIT_READ, since Linux 3.16


def test_the_sets_of_this_process() -> None:
    sets = read_sets()
    assert sets.keys() == {"inheritable", "permitted", "effective", "bounding", "ambient"}
    assert sets["effective"] & ~sets["permitted"] == 0
