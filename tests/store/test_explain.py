import os

import pytest

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.store.check import check_places
from rundlet.store.explain import explain, explain_all, plan_prune, plan_unfinished, prune
from rundlet.store.images import is_pinned_name
from rundlet.store.store import Places, Store
from tests.store.conftest import add_image, add_layer


def reasons(store, text):
    return [reason.describe() for reason in explain(store, text).reasons]


def test_what_keeps_an_image_is_told(store):
    image = add_image(store, layers=(b"base", b"top"))
    add_image(store, name="docker.io/library/other:1", layers=(b"base", b"else"), label="2")
    store.snapshots.prepare("box", image.id)
    store.images.pin(image.id, pinned=True)
    store.images.tag(image.id, "redis:7")
    assert reasons(store, image.id) == [
        "it is named docker.io/library/redis:7",
        "it is named docker.io/library/redis:latest",
        "it is pinned",
        "container box uses it",
    ]


def test_bytes_of_its_own_are_those_that_would_be_freed(store):
    image = add_image(store, layers=(b"base", b"top"))
    add_image(store, name="docker.io/library/other:1", layers=(b"base", b"else"), label="2")
    told = explain(store, image.id)
    before, _ = store.usage()
    store.images.remove(image.id)
    after, _ = store.usage()
    assert before - after == told.own_bytes
    assert told.shared_bytes == len(b"base")


def test_prune_takes_what_has_no_name_and_with_all_what_has_no_user(store):
    named = add_image(store, layers=(b"a",), label="1")
    used = add_image(store, name="docker.io/library/used:1", layers=(b"b",), label="2")
    pinned = add_image(store, name="docker.io/library/pinned:1", layers=(b"c",), label="3")
    loose = add_image(store, name="docker.io/library/loose:1", layers=(b"d",), label="4")
    store.snapshots.prepare("box", used.id)
    store.images.pin(pinned.id, pinned=True)
    store.images.untag("loose:1")
    explanations = explain_all(store)
    assert [step.image_id for step in plan_prune(explanations, named=False)] == [loose.id]
    plan = plan_prune(explanations, named=True)
    assert {step.image_id for step in plan} == {named.id, loose.id}
    prune(store, plan)
    assert {image.id for image in store.images.list()} == {used.id, pinned.id}
    assert sorted(name for name in os.listdir(f"{store.root}/layers") if name.isdigit()) == ["2", "3"]


def test_an_image_that_got_a_user_after_the_plan_stays(store):
    image = add_image(store)
    plan = plan_prune(explain_all(store), named=True)
    store.snapshots.prepare("box", image.id)
    prune(store, plan)
    assert store.images.find(image.id)


def test_what_unfinished_pulls_have_brought_is_freed(store):
    add_layer(store, b"brought")
    (step,) = plan_unfinished(store)
    assert step.describe() == "free 1 layers and 0 blobs of unfinished pulls, 7 bytes"
    prune(store, [step])
    assert store.usage() == (0, 0)
    assert plan_unfinished(store) == ()


def test_an_unknown_image_cannot_be_explained(store):
    with pytest.raises(NotFound):
        explain(store, "ghost")


@pytest.mark.parametrize(
    ("pattern", "pins"),
    [
        ("registry.k8s.io/pause:3.9", True),
        ("registry.k8s.io/pause*", True),
        ("*pause*", True),
        ("registry.k8s.io/pause", False),
        ("*pause", False),
        ("*", True),
        ("quay.io/*", False),
    ],
)
def test_patterns_of_pinned_images(pattern, pins):
    assert is_pinned_name("registry.k8s.io/pause:3.9", (pattern,)) is pins


def test_an_image_pinned_by_configuration_is_pinned_and_not_pruned(tmp_path):
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"), pinned=("*redis*",))
    image = add_image(store)
    assert store.images.find(image.id).pinned
    assert plan_prune(explain_all(store), named=True) == ()
    store.close()


def test_pins_survive_a_pull_and_a_new_opening(open_store):
    store = open_store()
    image = add_image(store)
    store.images.pin(image.id, pinned=True)
    assert add_image(open_store()).pinned
    store.images.pin(image.id, pinned=False)
    assert not open_store().images.find(image.id).pinned


# --- where images are kept ----------------------------------------------------


def test_images_may_be_kept_elsewhere(tmp_path):
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"), image_root=str(tmp_path / "images"))
    image = add_image(store)
    snapshot = store.snapshots.prepare("box", image.id)
    assert sorted(os.listdir(tmp_path / "root")) == [
        "shifted",
        "snapshots",
        "state.db",
        "state.db-shm",
        "state.db-wal",
    ]
    assert all(path.startswith(str(tmp_path / "images" / "layers")) for path in snapshot.lower)
    assert snapshot.upper.startswith(str(tmp_path / "root" / "snapshots"))
    store.close()
    assert check_places(store.places) == ()


@pytest.fixture
def lender(tmp_path):
    """A store of another root, whose image others may use."""
    store = Store.open(str(tmp_path / "lender"), str(tmp_path / "lender-run"))
    image = add_image(store, layers=(b"base", b"top"))
    store.close()
    return image, str(tmp_path / "lender")


def open_borrower(tmp_path, *roots):
    return Store.open(str(tmp_path / "root"), str(tmp_path / "run"), additional_roots=roots)


def test_images_of_an_additional_store_are_used_without_a_copy(tmp_path, lender):
    image, root = lender
    before = sorted(os.walk(root))
    store = open_borrower(tmp_path, root)
    (found,) = store.images.list()
    assert (found.id, found.names, found.config) == (image.id, image.names, image.config)
    assert store.usage() == (0, 0)
    snapshot = store.snapshots.prepare("box", image.id)
    assert [os.path.realpath(path) for path in snapshot.lower] == [f"{root}/layers/2", f"{root}/layers/1"]
    assert [reason.kind for reason in explain(store, image.id).reasons] == ["name", "container", "store"]
    with pytest.raises(FailedPrecondition, match="read-only store"):
        store.images.remove(image.id)
    store.close()
    assert check_places(store.places, read_data=True) == ()
    assert sorted(os.walk(root)) == before


def test_a_pull_makes_a_borrowed_image_our_own_with_the_layers_it_has(tmp_path, lender):
    image, root = lender
    store = open_borrower(tmp_path, root)
    add_image(store, layers=(b"base", b"top"))
    store.images.remove(image.id)
    assert store.images.list() == []
    store.close()
    store = open_borrower(tmp_path, root)
    assert [each.id for each in store.images.list()] == [image.id]
    store.close()


def test_an_additional_store_that_is_named_no_longer_takes_its_images_along(tmp_path, lender):
    _, root = lender
    open_borrower(tmp_path, root).close()
    store = open_borrower(tmp_path)
    assert store.images.list() == []
    assert [name for name in os.listdir(f"{store.root}/layers") if name.isdigit()] == []
    assert os.listdir(f"{store.root}/blobs/sha256") == []
    store.close()
    assert os.path.isdir(f"{root}/layers/1")


def test_what_an_additional_store_has_lost_is_found(tmp_path, lender):
    _, root = lender
    store = open_borrower(tmp_path, root)
    store.close()
    os.rename(f"{root}/layers/1", f"{root}/layers/9")
    kinds = {finding.kind for finding in check_places(Places(store.root, str(tmp_path / "run"), "", (root,)))}
    assert kinds == {"borrowed-missing"}


def test_a_root_without_a_store_is_told(tmp_path):
    with pytest.raises(NotFound, match="there is no state.db"):
        open_borrower(tmp_path, str(tmp_path / "nothing"))
