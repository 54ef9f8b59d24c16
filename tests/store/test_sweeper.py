"""What is removed goes soon, and never while somebody waits."""

import threading

from rundlet.store import sweeper as sweeper_module
from rundlet.store.sweeper import Sweeper


def fill(path):
    (path / "a/b").mkdir(parents=True)
    (path / "a/b/file").write_text("x")
    return str(path)


def test_all_is_gone_after_join(tmp_path):
    sweeper = Sweeper()
    sweeper.sweep(fill(tmp_path / str(number)) for number in range(20))
    sweeper.sweep([])
    sweeper.join()
    assert list(tmp_path.iterdir()) == []
    sweeper.sweep([fill(tmp_path / "again"), str(tmp_path / "never-was")])
    sweeper.join()
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_holds_nobody_up(tmp_path, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(sweeper_module, "remove_tree", lambda _: go_on.wait(10))
    sweeper = Sweeper()
    sweeper.sweep([str(tmp_path)])
    sweeper.sweep([str(tmp_path)])
    go_on.set()
    sweeper.join()


def test_a_failure_is_told_and_the_rest_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("not a directory")
    other = fill(tmp_path / "other")
    sweeper = Sweeper()
    sweeper.sweep([str(tmp_path / "file"), other])
    sweeper.join()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert "left behind" in caplog.text
