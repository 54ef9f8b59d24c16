import os
import signal
import uuid
from collections.abc import Iterator

import pytest

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout, detect_layout, make_layout, parse_mounts


def find_unified() -> Layout:
    """Version 2 as far as it goes here: on hybrid hosts its core works without controllers."""
    mounts = [mount for mount in parse_mounts(read_text("/proc/self/mountinfo")) if mount.version == 2]
    if not mounts:
        pytest.skip("a cgroup2 mount not on this host")
    return make_layout(mounts[-1:], {"": "/"}, lambda _: [])


def make_throw_away(layout: Layout) -> Iterator[Group]:
    group = Group(layout, f"/test-{uuid.uuid4().hex}")
    yield group
    group.kill()
    group.remove()


@pytest.fixture
def group():
    """A group of this test alone, below the node's own; made by the test, removed here."""
    yield from make_throw_away(detect_layout())


@pytest.fixture(params=["host", "unified"])
def any_group(request):
    """As `group`, once in the host's layout and once in the version 2 hierarchy."""
    yield from make_throw_away(detect_layout() if request.param == "host" else find_unified())


@pytest.fixture
def spawn():
    """Fork a child that joins a group by its join files and runs `work`; its pid."""
    pids = []

    def spawn(group, work=signal.pause):
        ready, started = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                for path in group.join_files():
                    with open(path, "w", encoding="ascii") as file:
                        file.write("0")
                os.write(started, b"1")
                work()
            finally:
                os._exit(1)
        os.close(started)
        assert os.read(ready, 1) == b"1"
        os.close(ready)
        pids.append(pid)
        return pid

    yield spawn
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue
