"""Every kind of damage is found, and mended with nothing lost that could be kept."""

import os
import shutil
import sqlite3

import pytest

from rundlet.errors import DataLoss, FailedPrecondition, NotFound
from rundlet.image.pull import pull_image
from rundlet.image.repair import plan_repair, repair_store
from rundlet.store.check import check_places
from rundlet.store.findings import SENTENCES
from rundlet.store.store import Places, Store
from tests.archive.trees import describe, directory, make_tar, member
from tests.image.conftest import push

LAYERS = [
    make_tar(directory("etc"), member("etc/motd", b"hello"), member("etc/big", bytes(range(256)) * 900)),
    make_tar(directory("srv"), member("srv/page", b"content" * 3000), member("etc/.wh.motd")),
]


class Damaged:
    """A store with one image and one snapshot, closed, to be damaged by hand."""

    def __init__(self, tmp_path, registry, client):
        self.places = Places(str(tmp_path / "root"), str(tmp_path / "run"))
        self.registry = registry
        self.reference = f"{registry.address}/crio/redis:1"
        push(client, self.reference, LAYERS)
        store = Store.open(self.places.root, self.places.run)
        self.image = pull_image(store, client, self.reference)
        store.snapshots.prepare("box", self.image.id)
        with open(f"{self.root}/snapshots/box/upper/written", "w", encoding="ascii") as file:
            file.write("by the container")
        self.layer_blob = self.select(store, "SELECT blob_digest FROM layers WHERE id = 1")
        self.trees = [describe(store.layers.path(layer)) for layer in self.image.layers]
        store.close()

    @property
    def root(self):
        return self.places.root

    def blob(self, digest):
        return f"{self.root}/blobs/{digest.replace(':', '/')}"

    def note(self):
        return f"{self.root}/images/{self.image.id.replace(':', '-')}.json"

    @staticmethod
    def select(store, query):
        with store.database.read() as connection:
            return connection.execute(query).fetchone()[0]

    def sql(self, *statements):
        connection = sqlite3.connect(f"{self.root}/state.db", isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def kinds(self, **options):
        return {finding.kind for finding in check_places(self.places, **options)}

    def assert_whole(self):
        assert check_places(self.places, read_data=True) == ()
        store = Store.open(self.places.root, self.places.run)
        (image,) = store.images.list()
        assert image.id == self.image.id
        assert image.names == self.image.names
        assert image.digests == self.image.digests
        assert [describe(store.layers.path(layer)) for layer in image.layers] == self.trees
        assert store.snapshots.find("box") is not None
        store.close()
        assert os.path.exists(f"{self.root}/snapshots/box/upper/written")


@pytest.fixture
def damaged(tmp_path, registry, client):
    return Damaged(tmp_path, registry, client)


def flip(path, at=10):
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # a disk that forgets touches no time


def cut(path):
    os.truncate(path, 3)


def overwrite(path):
    with open(path, "w", encoding="ascii") as file:
        file.write("nonsense")


QUICK = {
    "blob gone": (lambda d: os.unlink(d.blob(d.layer_blob)), "blob-missing"),
    "blob cut off": (lambda d: cut(d.blob(d.layer_blob)), "blob-altered"),
    "config altered": (lambda d: flip(d.blob(d.image.id)), "blob-altered"),
    "manifest gone": (lambda d: os.unlink(d.blob(d.image.manifest_digest)), "blob-missing"),
    "layer gone": (lambda d: shutil.rmtree(f"{d.root}/layers/1"), "layer-missing"),
    "file gone": (lambda d: os.unlink(f"{d.root}/layers/1/etc/motd"), "layer-changed"),
    "file added": (lambda d: overwrite(f"{d.root}/layers/2/srv/more"), "layer-changed"),
    "file cut off": (lambda d: cut(f"{d.root}/layers/1/etc/big"), "layer-changed"),
    "mode altered": (lambda d: os.chmod(f"{d.root}/layers/1/etc/motd", 0o666), "layer-changed"),
    "mode of the root altered": (lambda d: os.chmod(f"{d.root}/layers/1", 0o700), "layer-changed"),
    "time altered": (lambda d: os.utime(f"{d.root}/layers/1/etc", (5, 5)), "layer-changed"),
    "whiteout gone": (lambda d: os.unlink(f"{d.root}/layers/2/etc/motd"), "layer-changed"),
    "listing gone": (lambda d: os.unlink(f"{d.root}/layers/2.list"), "layer-unlisted"),
    "listing altered": (lambda d: flip(f"{d.root}/layers/2.list"), "layer-unlisted"),
    "layer note gone": (lambda d: os.unlink(f"{d.root}/layers/2.json"), "layer-note"),
    "layer note altered": (lambda d: overwrite(f"{d.root}/layers/2.json"), "layer-note"),
    "layer row's sizes altered": (lambda d: d.sql("UPDATE layers SET inodes = 7 WHERE id = 1"), "layer-note"),
    "half unpacked": (lambda d: os.makedirs(f"{d.root}/layers/tmp-abc/x"), "layer-half-made"),
    "stray layer": (lambda d: os.makedirs(f"{d.root}/layers/77/x"), "layer-stray"),
    "stray file among layers": (lambda d: overwrite(f"{d.root}/layers/README"), "stray-file"),
    "stray file among blobs": (lambda d: overwrite(f"{d.root}/blobs/sha256/README"), "stray-file"),
    "stray download": (lambda d: overwrite(f"{d.root}/ingest/README"), "stray-file"),
    "stray blob": (lambda d: overwrite(d.blob("sha256:" + "0" * 64)), "blob-stray"),
    "blob without a row": (
        lambda d: d.sql("DELETE FROM image_blobs", f"DELETE FROM blobs WHERE digest = '{d.layer_blob}'"),
        "blob-stray",
    ),
    "layer without a row": (
        lambda d: d.sql("DELETE FROM image_layers", "DELETE FROM snapshot_layers", "DELETE FROM layers WHERE id = 2"),
        "layer-stray",
    ),
    "name without an image": (
        lambda d: d.sql("INSERT INTO image_names VALUES ('docker.io/library/ghost:1', 'sha256:none')"),
        "name-nowhere",
    ),
    "dangling reference": (
        lambda d: d.sql("INSERT INTO image_layers VALUES ('sha256:none', 0, 1)"),
        "dangling-row",
    ),
    "blob counted for nobody": (
        lambda d: d.sql(f"DELETE FROM image_blobs WHERE digest = '{d.layer_blob}'"),
        "references-wrong",
    ),
    "layer counted for nobody": (
        lambda d: d.sql("DELETE FROM image_layers WHERE position = 0"),
        "references-wrong",
    ),
    "layers in the wrong order": (
        lambda d: d.sql("UPDATE image_layers SET layer_id = 3 - layer_id"),
        "references-wrong",
    ),
    "image note gone": (lambda d: os.unlink(d.note()), "image-note"),
    "image note altered": (lambda d: overwrite(d.note()), "image-note"),
    "snapshot note gone": (lambda d: os.unlink(f"{d.root}/snapshots/box/note.json"), "snapshot-note"),
    "snapshot without its work directory": (lambda d: os.rmdir(f"{d.root}/snapshots/box/work"), "snapshot-missing"),
    "stray snapshot": (lambda d: os.makedirs(f"{d.root}/snapshots/ghost/upper"), "snapshot-stray"),
    "lower gone": (lambda d: shutil.rmtree(f"{d.root}/layers/2"), "lower-missing"),
}  # fmt: skip
ONLY_BY_READING = {
    "file altered": (lambda d: flip(f"{d.root}/layers/1/etc/big"), "layer-changed"),
    "blob altered": (lambda d: flip(d.blob(d.layer_blob), 40), "blob-altered"),
    "file and blob altered": (
        lambda d: (flip(d.blob(d.layer_blob), 40), flip(f"{d.root}/layers/1/etc/big")),
        "layer-changed",
    ),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts need root")
@pytest.mark.parametrize("what", QUICK)
def test_damage_is_found_quickly_and_mended(damaged, supply, what):
    harm, kind = QUICK[what]
    assert damaged.kinds() == set()
    harm(damaged)
    if what != "snapshot counted for nobody":
        assert kind in damaged.kinds()
    report = repair_store(damaged.places, supply)
    assert report.left == (), report
    if what == "layer without a row":  # the rows that tied the snapshot to its layers were taken away as well
        store = Store.open(damaged.places.root, damaged.places.run)
        store.snapshots.remove("box")
        store.snapshots.prepare("box", damaged.image.id)
        overwrite(f"{damaged.root}/snapshots/box/upper/written")
        store.close()
    damaged.assert_whole()


@pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts need root")
@pytest.mark.parametrize("what", ONLY_BY_READING)
def test_damage_that_only_reading_finds(damaged, supply, what):
    harm, kind = ONLY_BY_READING[what]
    harm(damaged)
    assert damaged.kinds() == set()
    assert kind in damaged.kinds(read_data=True)
    assert repair_store(damaged.places, supply, read_data=True).left == ()
    damaged.assert_whole()


def test_every_kind_of_finding_is_tested():
    kinds = {kind for _, kind in (*QUICK.values(), *ONLY_BY_READING.values())}
    assert set(SENTENCES) - kinds == {"database-lost", "database-damaged", "borrowed-missing"}


def test_a_lost_database_does_not_make_an_empty_store(damaged):
    for part in ("", "-wal", "-shm"):
        if os.path.exists(f"{damaged.root}/state.db{part}"):
            os.unlink(f"{damaged.root}/state.db{part}")
    with pytest.raises(DataLoss, match="state.db is lost"):
        Store.open(damaged.places.root, damaged.places.run)
    assert damaged.kinds() == {"database-lost"}
    report = repair_store(damaged.places, None)
    assert report.left == ()
    damaged.assert_whole()


def test_a_lost_database_and_lost_notes_leave_an_image_without_a_name(damaged, client):
    os.unlink(f"{damaged.root}/state.db")
    os.unlink(damaged.note())
    assert repair_store(damaged.places, None).left == ()
    store = Store.open(damaged.places.root, damaged.places.run)
    (image,) = store.images.list()
    assert (image.id, image.names) == (damaged.image.id, ())
    assert pull_image(store, client, damaged.reference).names == damaged.image.names
    store.close()
    damaged.assert_whole()


@pytest.mark.parametrize("at", [0, 30, 4096, 3 * 4096 + 5, 7 * 4096], ids=str)
def test_a_damaged_database_is_made_anew(damaged, at):
    """Other rooms' tables live in the same file: what can be read of them stays."""
    damaged.sql(
        "CREATE TABLE pods (id TEXT PRIMARY KEY, state TEXT)", "INSERT INTO pods VALUES ('a', 'ready')"
    )
    with open(f"{damaged.root}/state.db", "r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 2000)
    report = repair_store(damaged.places, None)
    assert report.left == (), report
    damaged.assert_whole()
    aside = [name for name in os.listdir(damaged.root) if name.startswith("state.db.damaged")]
    assert aside or not report.found


def test_the_database_is_not_replaced_while_another_process_has_it_open(damaged, tmp_path):
    import subprocess
    import sys

    with open(f"{damaged.root}/state.db", "r+b") as file:
        file.write(b"\xff" * 200)
    program = f"file = open({damaged.root + '/state.db'!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(FailedPrecondition, match=str(child.pid)):
            repair_store(damaged.places, None)
        child.communicate("\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts need root")
def test_without_a_registry_only_what_cannot_be_mended_is_let_go(damaged):
    os.unlink(damaged.blob(damaged.layer_blob))
    report = repair_store(damaged.places, None)
    assert report.left == ()
    assert [type(step).__name__ for step, _ in report.failed] == ["FetchBlob", "FetchBlob"]
    damaged.assert_whole()  # its layer is here: the image is as good as it was


def test_an_image_that_has_lost_a_layer_for_good_is_dropped(damaged):
    os.unlink(damaged.blob(damaged.layer_blob))
    os.unlink(f"{damaged.root}/layers/1/etc/motd")
    report = repair_store(damaged.places, None)
    store = Store.open(damaged.places.root, damaged.places.run)
    assert store.images.list() == []
    assert os.path.exists(f"{damaged.root}/snapshots/box/upper/written")
    store.close()
    assert any("its layer 1 is lost" in step.describe() for step in report.done)


def test_a_registry_that_does_not_answer_is_no_reason_to_drop_an_image(damaged, supply):
    os.unlink(damaged.blob(damaged.layer_blob))
    os.unlink(f"{damaged.root}/layers/1/etc/motd")
    damaged.registry.stop()
    report = repair_store(damaged.places, supply)
    assert {finding.kind for finding in report.left} == {"blob-missing", "layer-changed"}
    store = Store.open(damaged.places.root, damaged.places.run)
    assert [image.id for image in store.images.list()] == [damaged.image.id]
    store.close()


def test_a_plan_changes_nothing_and_says_what_it_will_do(damaged):
    os.chmod(f"{damaged.root}/layers/1/etc/motd", 0o600)
    os.unlink(damaged.note())
    plan = [step.describe() for step in plan_repair(damaged.places)]
    assert plan == [
        f"write the note of image {damaged.image.id} anew",
        f"unpack layer 1 again from blob {damaged.layer_blob}, fetched again if it is not whole",
    ]
    assert damaged.kinds() == {"layer-changed", "image-note"}


def test_what_changed_is_named(damaged):
    os.chmod(f"{damaged.root}/layers/1/etc/motd", 0o600)
    (finding,) = check_places(damaged.places)
    assert finding.describe() == (
        "layer-changed 1: the layer's directory is not as it was unpacked (./etc/motd)"
    )


def test_a_mended_layer_stays_where_a_container_may_have_it_mounted(damaged, supply):
    os.chmod(f"{damaged.root}/layers/1/etc/motd", 0o600)
    assert repair_store(damaged.places, supply).left == ()
    (kept,) = [name for name in os.listdir(f"{damaged.root}/layers") if name.startswith("kept-1-")]
    assert os.path.exists(f"{damaged.root}/layers/{kept}/etc/motd")
    store = Store.open(damaged.places.root, damaged.places.run)
    store.snapshots.remove("box")
    store.close()
    Store.open(damaged.places.root, damaged.places.run).close()
    assert not os.path.exists(f"{damaged.root}/layers/{kept}")


def test_no_store_is_told(tmp_path):
    with pytest.raises(NotFound, match="there is no store"):
        check_places(Places(str(tmp_path / "nothing"), str(tmp_path / "run")))
    assert not (tmp_path / "nothing").exists()
