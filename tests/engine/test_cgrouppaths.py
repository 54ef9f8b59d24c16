"""Where groups lie, where systemd runs and where it does not; tests/vm/checks/kubelet.py has the real one."""

import pytest

from rundlet.engine.cgrouppaths import child_path, choose_parent
from rundlet.errors import InvalidArgument

POD = "kubepods-burstable-pod12_34.slice"
POD_PATH = f"/kubepods.slice/kubepods-burstable.slice/{POD}"


@pytest.mark.parametrize("wanted", [POD, POD_PATH, POD_PATH.lstrip("/")])
def test_a_slice_by_name_or_path(wanted: str) -> None:
    parent = choose_parent(wanted, "/rundlet", "cgroupfs", "1f", has_systemd=True)
    assert parent == POD_PATH
    assert child_path(parent, "c1", has_systemd=True) == f"{POD}:rundlet:c1"


@pytest.mark.parametrize("wanted", ["/elsewhere.slice/kubepods-a.slice", "/a--b.slice", "/kubepods/-.slice"])
def test_a_path_that_is_not_the_slices_own_is_refused(wanted: str) -> None:
    with pytest.raises(InvalidArgument):
        choose_parent(wanted, "/rundlet", "systemd", "1f", has_systemd=True)


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
def test_paths_stay_paths(driver: str) -> None:
    parent = choose_parent("/kubepods/pod1", "/rundlet", driver, "1f", has_systemd=True)
    assert (parent, child_path(parent, "c1", has_systemd=True)) == ("/kubepods/pod1", "/kubepods/pod1/c1")


def test_without_a_parent_the_driver_decides() -> None:
    assert choose_parent("", "/rundlet", "cgroupfs", "1f", has_systemd=True) == "/rundlet/1f"
    assert (
        choose_parent("", "/rundlet", "systemd", "1f", has_systemd=True)
        == "/rundlet.slice/rundlet-pod_1f.slice"
    )
    assert (
        choose_parent("", "/a/b.slice", "systemd", "1f", has_systemd=True)
        == "/a.slice/a-b.slice/a-b-pod_1f.slice"
    )


def test_without_systemd_a_slice_is_refused_and_its_path_a_path() -> None:
    with pytest.raises(InvalidArgument, match="systemd does not run here"):
        choose_parent(POD, "/rundlet", "cgroupfs", "1f", has_systemd=False)
    assert choose_parent(POD_PATH, "/rundlet", "cgroupfs", "1f", has_systemd=False) == POD_PATH
    assert child_path(POD_PATH, "c1", has_systemd=False) == f"{POD_PATH}/c1"
