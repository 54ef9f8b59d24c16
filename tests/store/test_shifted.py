"""Layers once more with the owners of a user namespace: made once, kept while needed, never half."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet import failpoint
from rundlet.archive.shift import Shift
from rundlet.errors import Error
from tests.store.conftest import add_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners")

SHIFT = Shift(((0, 100000, 65536),), ((0, 200000, 65536),))


def shifted(store):
    store.settle()
    return sorted(path for path in os.listdir(f"{store.root}/shifted") if not path.startswith("tmp-gone-"))


@pytest.mark.parametrize("data", ["copy", "refer"])
def test_owners_and_data(store, data):
    snapshot = store.snapshots.prepare("key", add_image(store).id)
    lower, metacopy = store.shifted.prepare(snapshot, SHIFT, data)
    assert metacopy == (data == "refer")
    tops = lower[::2] if metacopy else lower
    assert [os.stat(f"{path}/file").st_uid for path in tops] == [100000, 100000]
    assert [os.stat(f"{path}/file").st_gid for path in tops] == [200000, 200000]
    if metacopy:
        assert lower[1::2] == snapshot.lower
        assert [os.stat(f"{path}/file").st_size for path in tops] == [3, 4]
        assert [os.stat(f"{path}/file").st_blocks for path in tops] == [0, 0]
    else:
        assert [Path(path, "file").read_bytes() for path in lower] == [b"top", b"base"]
    assert os.stat(snapshot.upper).st_uid == 100000


def test_each_is_made_once_and_gone_with_the_last(store):
    image = add_image(store)
    first, second = (store.snapshots.prepare(key, image.id) for key in ("one", "two"))
    assert store.shifted.prepare(first, SHIFT, "copy") == store.shifted.prepare(second, SHIFT, "copy")
    assert len(shifted(store)) == 2
    size, inodes = store.shifted.usage()
    assert (size > 0, inodes) == (True, 4)
    store.snapshots.remove("one")
    assert len(shifted(store)) == 2
    store.snapshots.remove("two")
    assert shifted(store) == []
    assert store.shifted.usage() == (0, 0)


def test_another_mapping_has_its_own(store):
    image = add_image(store)
    other = Shift(((0, 300000, 65536),), ((0, 300000, 65536),))
    store.shifted.prepare(store.snapshots.prepare("one", image.id), SHIFT, "copy")
    store.shifted.prepare(store.snapshots.prepare("two", image.id), other, "copy")
    assert len(shifted(store)) == 4
    store.snapshots.remove("two")
    assert len(shifted(store)) == 2


ENDS = """
import sys
from rundlet.archive.shift import Shift
from rundlet.store.store import Store
store = Store.open(sys.argv[1], sys.argv[2])
shift = Shift(((0, 100000, 65536),), ((0, 200000, 65536),))
store.shifted.prepare(store.snapshots.prepare("key", sys.argv[3]), shift, "copy")
store.snapshots.remove("key")
store.close()
"""


@pytest.mark.parametrize("step", ["shifted.copy", "shifted.rename", "shifted.publish", "shifted.move-away"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_an_end_on_the_way_leaves_nothing(open_store, tmp_path, step, side):
    store = open_store()
    image = add_image(store)
    points = tmp_path / "points"
    points.write_bytes(bytes(failpoint.FILE_BYTES))
    failpoint.Failpoints(str(points)).arm(f"{step}:{side}", failpoint.END)
    command = [sys.executable, "-c", ENDS, store.root, store.places.run, image.id]
    done = subprocess.run(command, env={**os.environ, "RUNDLET_FAILPOINTS": str(points)}, check=False)
    assert done.returncode == 1
    again = open_store()
    again.snapshots.remove("key")
    assert shifted(again) == []
    assert again.shifted.usage() == (0, 0)
    again.shifted.prepare(again.snapshots.prepare("key", image.id), SHIFT, "copy")
    assert len(shifted(again)) == 2


def test_a_full_disk_leaves_nothing(store):
    """RLIMIT_FSIZE is the disk's end here."""
    snapshot = store.snapshots.prepare("key", add_image(store, layers=(bytes(1 << 20),)).id)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * 200, old[1]))
    try:
        with pytest.raises(Error):
            store.shifted.prepare(snapshot, SHIFT, "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert shifted(store) == []
    store.snapshots.remove("key")
