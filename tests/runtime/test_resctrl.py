"""The files of resctrl(5), in a directory that looks like it."""

from pathlib import Path

import pytest

from rundlet.errors import FailedPrecondition
from rundlet.plan.steps import JoinResctrl
from rundlet.runtime import resctrl
from rundlet.runtime.context import Context


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tasks").touch()
    for name in ("tasks", "schemata", "mon_groups/c/tasks"):
        path = tmp_path / "gold" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(resctrl, "ROOT", str(tmp_path))
    return tmp_path


def join(*fields: object) -> None:
    resctrl.EXECUTORS[JoinResctrl](JoinResctrl(*fields), Context())  # type: ignore[arg-type]


def test_a_process_joins_its_class_and_monitoring_group(root: Path) -> None:
    import os

    join("gold", ("L3:0=f",), "c")
    assert (root / "gold/schemata").read_text() == "L3:0=f\n"
    assert (root / "gold/tasks").read_text() == str(os.getpid())
    assert (root / "gold/mon_groups/c/tasks").read_text() == str(os.getpid())


def test_a_class_that_somebody_else_should_have_made(root: Path) -> None:
    with pytest.raises(FailedPrecondition, match="does not exist"):
        join("silver", (), "")
    assert not (root / "silver").exists()


def test_a_host_without_resctrl(root: Path) -> None:
    (root / "tasks").unlink()
    with pytest.raises(FailedPrecondition, match="is not mounted on this host"):
        join("gold", (), "")


def test_only_the_containers_own_groups_go_with_it(root: Path) -> None:
    for name in ("c", "d", "gold/mon_groups/d", "mon_groups/c"):
        (root / name).mkdir(parents=True)
    (root / "gold/mon_groups/c/tasks").unlink()  # the kernel's own files are no obstacle to rmdir(2)
    resctrl.remove_groups("c")
    assert not (root / "c").exists()
    assert not (root / "gold/mon_groups/c").exists()
    assert not (root / "mon_groups/c").exists()
    assert (root / "d").exists()
    assert (root / "gold/mon_groups/d").exists()
