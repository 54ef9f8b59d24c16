"""The journal of events: appended to by many, bounded, followed."""

import os
import threading
from pathlib import Path

import pytest

from rundlet.engine.feed import About, Feed
from rundlet.engine.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path), size_max_bytes=4096)


def test_entries_come_back_in_order(journal: Journal) -> None:
    for number in range(5):
        journal.note("container", "start", f"id{number}", "name", "image", labels={"a": "b"})
    found = list(journal.read())
    assert [entry.id for entry in found] == [f"id{number}" for number in range(5)]
    assert (found[0].name, found[0].image, found[0].labels) == ("name", "image", {"a": "b"})
    assert [entry.time_ns for entry in found] == sorted(entry.time_ns for entry in found)


def test_two_files_of_limited_size_are_kept(journal: Journal, tmp_path: Path) -> None:
    for number in range(500):
        journal.note("container", "start", f"id{number}")
    assert sorted(os.listdir(tmp_path)) == ["events", "events.old"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * 4096 + 512
    assert [entry.id for entry in journal.read()][-1] == "id499"


def test_many_writers_lose_nothing_while_it_rotates(tmp_path: Path) -> None:
    """Forked writers and a follower, who hears of every entry although the file is moved away meanwhile."""
    journal = Journal(str(tmp_path), size_max_bytes=40_000)
    heard: set[str] = set()
    over = threading.Event()
    follower = threading.Thread(
        target=lambda: heard.update(entry.id for entry in journal.follow(is_over=over.is_set, with_past=True))
    )
    journal.note("system", "begin", "begin")
    follower.start()
    pids = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            for number in range(200):
                Journal(str(tmp_path), size_max_bytes=40_000).note("container", "start", f"{writer}-{number}")
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    over.set()
    follower.join()
    assert {entry.id for entry in journal.read()} >= {f"{writer}-199" for writer in range(4)}
    assert (tmp_path / "events.old").exists()
    assert heard == {"begin"} | {f"{writer}-{number}" for writer in range(4) for number in range(200)}


def test_half_a_line_is_left_out(journal: Journal, tmp_path: Path) -> None:
    journal.note("container", "start", "one")
    with (tmp_path / "events").open("ab") as file:
        file.write(b'{"time_ns": 1, "ty\n')
    journal.note("container", "start", "two")
    assert [entry.id for entry in journal.read()] == ["one", "two"]


def test_a_directory_that_has_gone_fails_nothing(tmp_path: Path) -> None:
    Journal(str(tmp_path / "missing")).note("container", "start", "id")


def test_the_feed_writes_what_happens_in_podmans_words(journal: Journal) -> None:
    feed = Feed(journal)
    about = About("web", "redis", '{"app": "x"}', None, None, 1)
    feed.tell("container", "c", "p", "created", about)
    feed.tell("container", "c", "p", "created", about._replace(lives=2))
    feed.tell("container", "c", "p", "stopped", about._replace(exit_code=3))
    feed.tell("pod", "p", "p", "started", About("pod"))
    feed.tell("pod", "own", "own", "started", About("web", origin="local"))
    assert [(entry.type, entry.action) for entry in journal.read()] == [
        ("container", "create"),
        ("container", "init"),
        ("container", "died"),
        ("pod", "create"),
    ]
    assert list(journal.read())[2].attributes == {"containerExitCode": "3"}
