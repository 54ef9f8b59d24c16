"""The power goes, at moments by chance, while images are pulled, named, brought by a copy and removed.

    the store on ext4 ─▶ loop device ─▶ a recorder of every write and flush (`recorder`)
    a moment in that record ─▶ the disk as it may then be found (`disk.Wreck`) ─▶ mounted, opened, checked

What a store has flushed must be there, whole; opening it leaves nothing to be found by a check.

RUNDLET_POWER_CUTS says how many moments of each record: 10 unless it is set; `nox -s powercut` takes 1 200 in all.
"""

import os
import random
from contextlib import contextmanager

import pytest

from rundlet.image.api import copy_image
from rundlet.image.place import Host
from rundlet.image.pull import pull_image
from rundlet.image.repair import repair_store
from rundlet.kernel.mount import MS_BIND, mount, umount
from rundlet.registry.client import RegistryClient
from rundlet.store.check import check_store
from rundlet.store.explain import explain_all, plan_prune, prune
from rundlet.store.store import Places, Store
from tests.image.conftest import push_family, serving
from tests.powercut.disk import Wreck, loop_mounted, read_log, recording

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

CUTS = int(os.environ.get("RUNDLET_POWER_CUTS", "10"))
RECORDS = int(os.environ.get("RUNDLET_POWER_CUT_RECORDS", "1"))
SIZE = 48 << 20
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Jobs:
    """What a machine does before its power goes.

    `stays`: one process does it all, as a daemon; else each job is one that opens the store and closes it.
    In the log's marks, "is NAME" says that a name is there for good, "was NAME" that it may be gone from here on.
    """

    def __init__(self, disk, run, client, references, chance, *, stays):
        self.disk, self.run, self.client, self.references = disk, run, client, references
        self.chance = chance
        self.store = Store.open(f"{disk.path}/root", run) if stays else None

    def work(self):
        for number, reference in enumerate(self.references):
            self.pull(reference)
            if number == 1:
                self.tag(reference)
        self.copy(self.references[0])
        for reference in self.chance.sample(self.references, 2):
            self.remove(reference)
        self.prune()
        self.pull(self.chance.choice(self.references))
        self.close()

    @contextmanager
    def opened(self):
        """The store; what is done in the block is on disk at its end."""
        if self.store:
            yield self.store
            self.store.flush()
        else:
            store = Store.open(f"{self.disk.path}/root", self.run)
            yield store
            store.close()

    def do(self, act, name):
        with self.opened() as store:
            act(store)
        self.disk.mark(f"is {name}")

    def pull(self, reference):
        self.do(lambda store: pull_image(store, self.client, reference), reference)

    def tag(self, reference):
        name = "registry.example/named:1"
        self.do(lambda store: store.images.tag(store.images.find(reference).id, name), name)

    def copy(self, reference):
        """An image that comes by a copy, with a name of its own."""
        name = "registry.example/copied:1"
        with Host(f"{self.disk.path}/root", self.run, insecure_policy=True) as host:
            copy_image(host, f"containers-storage:{reference}", f"containers-storage:{name}")
        self.disk.mark(f"is {name}")

    def remove(self, reference):
        with self.opened() as store:
            image = store.images.find(reference)
            for name in image.names:
                self.disk.mark(f"was {name}")
            store.images.remove(image.id)

    def prune(self):
        with self.opened() as store:
            prune(store, plan_prune(explain_all(store), named=False))

    def close(self):
        if self.store:
            self.store.close()


def promised(marks):
    """The names that must be there, by what the log says."""
    names = set()
    for mark in marks:
        word, _, name = mark.partition(" ")
        (names.add if word == "is" else names.discard)(name)
    return names


@pytest.fixture
def client():
    client = RegistryClient()
    yield client
    client.close()


@pytest.fixture
def other_boot(tmp_path):
    """The kernel's word on the boot is another from now on; in this mount namespace."""
    (tmp_path / "boot").write_text("5b6e1f0c-0000-4000-8000-000000000000\n")

    def restart():
        mount(str(tmp_path / "boot"), BOOT_ID, None, MS_BIND)

    yield restart
    umount(BOOT_ID)


def look_at(image, mount_point, run, names, moment):
    """Open, check and repair a store whose power has gone."""
    with loop_mounted(image, mount_point):
        places = Places(f"{mount_point}/root", run)
        if not os.path.isdir(places.root):
            assert not names, moment
            return
        store = Store.open(places.root, run)
        found = check_store(store, read_data=True)
        store.close()
        assert not found, (moment, found)
        assert repair_store(places, None, read_data=True).left == (), moment
        store = Store.open(places.root, run)
        present = {name for each in store.images.list() for name in each.names}
        store.close()
        assert names <= present, (moment, names - present)


@pytest.mark.timeout(60 + 2 * CUTS)
@pytest.mark.parametrize("stays", [True, False], ids=["daemon", "commands"])
@pytest.mark.parametrize("seed", range(RECORDS))
def test_no_power_cut_loses_an_image(tmp_path, client, other_boot, seed, stays):
    chance = random.Random(seed)
    with serving(tmp_path / "registry") as registry, recording(tmp_path, SIZE) as disk:
        disk.mark("mounted")
        references = push_family(client, f"{registry.address}/cut/image", images=3, files=20)
        Jobs(disk, str(tmp_path / "run"), client, references, chance, stays=stays).work()
    records = list(read_log(disk.log))
    other_boot()
    wreck = Wreck(records, SIZE)
    mounted = next(number for number, record in enumerate(records) if record.kind == "M")
    for cut in sorted(chance.sample(range(mounted, len(records) + 1), CUTS)):
        wreck.advance(cut)
        wreck.leave(f"{tmp_path}/found", chance)
        look_at(f"{tmp_path}/found", disk.path, str(tmp_path / "run2"), promised(wreck.marks), (seed, cut))
