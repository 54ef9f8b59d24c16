"""Opening a store after whatever happened, and two users of it at once."""

import os
import subprocess
import sys
import time

import pytest

from rundlet.errors import Error
from rundlet.spec.digest import Digest
from rundlet.store.locks import Patience
from rundlet.store.store import Store
from tests.store.conftest import add_image, add_layer

TABLES = ("CREATE TABLE IF NOT EXISTS mine (x INTEGER) STRICT",)


def rows(store, query):
    with store.database.read() as connection:
        return connection.execute(query).fetchall()


def change(store, statement, *values):
    with store.database.write() as connection:
        connection.execute(statement, values)


def listing(store):
    store.settle()
    return {
        name: sorted(os.listdir(f"{store.root}/{name}"))
        for name in ("ingest", "layers", "snapshots", "blobs/sha256")
    }


def test_the_tree_is_closed_to_others(store):
    for path in (store.root, f"{store.root}/layers", f"{store.root}/snapshots"):
        assert os.stat(path).st_mode & 0o077 == 0


def test_tables_of_others_live_in_the_same_database(open_store):
    store = open_store(TABLES)
    change(store, "INSERT INTO mine VALUES (1)")
    assert rows(open_store(TABLES), "SELECT x FROM mine") == [(1,)]


def test_another_opener_sees_the_same(open_store):
    image = add_image(open_store())
    assert open_store().images.list() == [image]


def test_usage_is_layers_and_blobs(store):
    image = add_image(store)
    used_bytes, inodes = store.usage()
    blobs = sum(
        os.path.getsize(f"{store.root}/blobs/sha256/{name}") for name in listing(store)["blobs/sha256"]
    )
    assert used_bytes == image.size_bytes + blobs
    assert inodes == 2 * 2 + 2


def test_opening_removes_what_processes_that_died_left(open_store):
    store = open_store()
    add_image(store)
    before = listing(store)
    os.makedirs(f"{store.root}/layers/tmp-{'a' * 64}/deep")
    os.makedirs(f"{store.root}/layers/tmp-gone-7-abcd/deep")
    os.makedirs(f"{store.root}/layers/999/deep")
    os.makedirs(f"{store.root}/snapshots/tmp-1234/upper")
    os.makedirs(f"{store.root}/snapshots/unknown/upper")
    open_store()
    assert listing(store) == before


def test_opening_leaves_what_is_being_made(open_store):
    store = open_store()
    chain_id = str(Digest.of(b"x"))
    with store.layers.lock(chain_id, Patience()), store.layers.unpack_dir(chain_id) as path:
        open_store()
        assert os.path.isdir(path)
    assert not os.path.exists(path)


def test_a_directory_in_the_way_of_a_new_layer_is_replaced(store):
    """A process died between its rename and its commit: the number is given out again."""
    first = add_layer(store, b"one")
    os.makedirs(f"{store.root}/layers/{first + 1}/left")
    assert add_layer(store, b"two") == first + 1
    assert os.listdir(store.layers.path(first + 1)) == ["file"]


def test_a_layer_whose_directory_is_lost_is_made_again_in_its_place(store):
    image = add_image(store)
    lost = image.layers[1]
    os.rename(store.layers.path(lost), f"{store.root}/elsewhere")
    chain_id = str(Digest.of(b"top"))
    assert store.layers.find(chain_id) is None
    assert add_layer(store, b"top") == lost
    assert store.images.list() == [image]


def test_unused_content_of_a_killed_pull_is_kept_for_the_next(open_store):
    store = open_store()
    layer = add_layer(store, b"brought")
    store.blobs.put(b"data", Digest.of(b"data"), Patience())
    store = open_store()
    assert os.path.isdir(store.layers.path(layer))
    change(store, "UPDATE layers SET kept_until_s = ?", int(time.time()) - 1)
    change(store, "UPDATE blobs SET kept_until_s = ?", int(time.time()) - 1)
    assert listing(open_store()) == {"ingest": [], "layers": [], "snapshots": [], "blobs/sha256": []}


def test_what_a_pull_gives_up_is_freed(store):
    add_layer(store, b"brought")
    digest = Digest.of(b"data")
    store.blobs.put(b"data", digest, Patience())
    with open(store.blobs.ingest_path(digest), "wb") as file:
        file.write(b"part")
    store.give_up([str(Digest.of(b"brought"))], [digest])
    store.collect()
    assert listing(store) == {"ingest": [], "layers": [], "snapshots": [], "blobs/sha256": []}


def test_nothing_is_freed_while_content_is_brought(store):
    image = add_image(store)
    with store.bringing(Patience()):
        store.images.remove(image.id)
        assert all(os.path.isdir(store.layers.path(layer)) for layer in image.layers)
    assert listing(store)["layers"] == []


def test_old_partial_downloads_go_and_new_ones_stay(open_store):
    store = open_store()
    old, new = f"sha256-{'1' * 64}", f"sha256-{'0' * 64}"
    for name in (old, new):
        with open(f"{store.root}/ingest/{name}", "wb") as file:
            file.write(b"part")
    os.utime(f"{store.root}/ingest/{old}", (1, 1))
    open_store()
    assert listing(store)["ingest"] == [new]


# --- power failures ---------------------------------------------------------


def test_what_is_synced_survives_the_next_boot(open_store):
    store = open_store()
    image = add_image(store)
    assert rows(store, "SELECT DISTINCT boot_id FROM layers") != [("",)]
    store.sync()
    store.close()
    assert rows(store, "SELECT boot_id FROM layers UNION SELECT boot_id FROM blobs") == [("",)]
    assert open_store().images.list() == [image]


@pytest.mark.parametrize("table", ["layers", "blobs"])
def test_what_was_not_synced_is_let_go_with_the_images_on_it(open_store, table):
    store = open_store()
    sound = add_image(store, name="docker.io/library/sound:latest", layers=(b"base",), label="1")
    store.sync()
    store.close()
    doubtful = add_image(store, layers=(b"base", b"top"), label="2")
    store.snapshots.prepare("key", doubtful.id)
    change(store, f"UPDATE {table} SET boot_id = 'an earlier boot' WHERE boot_id != ''")
    store = open_store()
    assert store.images.list() == [sound]
    assert not os.path.exists(store.layers.path(doubtful.layers[1])) or table == "blobs"
    assert os.path.isdir(store.layers.path(doubtful.layers[0]))
    assert (store.snapshots.find("key") is None) == (table == "layers")


# --- processes --------------------------------------------------------------

PROGRAM = """
import sys
from rundlet.errors import NotFound
from rundlet.store.store import Store
from tests.store.conftest import add_image
store = Store.open(sys.argv[1], sys.argv[2])
for number in range(int(sys.argv[3])):
    image = add_image(store, name=f"docker.io/library/i{number % 3}:latest", label=str(number % 3))
    try:
        store.snapshots.prepare(f"{sys.argv[4]}-{number}", image.id)
    except NotFound:
        pass  # another process was quicker to remove the image
    store.snapshots.remove(f"{sys.argv[4]}-{number}")
    if number % 2:
        store.images.remove(image.id)
store.close()
"""


def test_processes_publish_and_remove_at_once(open_store, tmp_path):
    store = open_store()
    arguments = [sys.executable, "-c", PROGRAM, store.root, str(tmp_path / "run"), "12"]
    children = [
        subprocess.Popen([*arguments, f"p{number}"], stderr=subprocess.PIPE, text=True) for number in range(3)
    ]
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], errors
    store = open_store()
    for image in store.images.list():
        assert all(os.path.isdir(store.layers.path(layer)) for layer in image.layers)
        store.images.remove(image.id)
    store.give_up([str(Digest.of(b"base")), str(Digest.of(b"top"))], [])
    store.collect()
    assert listing(store)["layers"] == listing(store)["snapshots"] == []
    assert os.listdir(tmp_path / "run") == []


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Error, match="store"):
        Store.open(str(tmp_path / "file" / "root"), str(tmp_path / "run"))
