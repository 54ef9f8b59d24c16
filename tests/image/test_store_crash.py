"""Killed, or failing, at every write point of every job: the store is whole afterwards, and the job can be done.

The points are the steps (`rundlet.step`) that the store takes: each commit, rename, unlink and sync.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rundlet.image.api import copy_image
from rundlet.image.place import Host
from rundlet.image.pull import pull_image
from rundlet.store.check import check_store
from rundlet.store.store import Store
from tests.archive.trees import directory, make_tar, member
from tests.image import crashing
from tests.image.conftest import push

pytestmark = pytest.mark.slow

LAYERS = [make_tar(directory("a"), member("a/f", b"1" * 5000)), make_tar(member("a/g", b"2" * 5000))]
OTHER_LAYERS = [make_tar(member("b", b"4" * 5000)), make_tar(member("c", b"5" * 5000))]
NEW_LAYERS = [LAYERS[0], make_tar(member("a/h", b"3" * 5000))]
POINTS_MAX = 200
ONCE = {"prepare", "rename"}  # cannot be done again when they have been done
CONTENT = ("ingest", "layers", "blobs/sha256", "images", "snapshots")


@pytest.fixture
def worker():
    command = [sys.executable, "-m", crashing.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(**request):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return SimpleNamespace(**json.loads(process.stdout.readline()))

        yield ask
        process.stdin.close()


@pytest.fixture
def template(tmp_path, registry, client):
    """A store with an image that a snapshot stands on and one that nothing uses; beside it a lender and an image."""
    store = Store.open(str(tmp_path / "template"), str(tmp_path / "run"))
    for tag, layers in (("used", LAYERS), ("new", NEW_LAYERS), ("idle", LAYERS[1:])):
        push(client, f"{registry.address}/crash/{tag}:1", layers)
    used = pull_image(store, client, f"{registry.address}/crash/used:1")
    store.snapshots.prepare("lasting", used.id)
    pull_image(store, client, f"{registry.address}/crash/idle:1")
    store.close()
    push(client, f"{registry.address}/crash/lent:1", OTHER_LAYERS)
    lender = Store.open(str(tmp_path / "lender"), str(tmp_path / "run-lender"))
    pull_image(lender, client, f"{registry.address}/crash/lent:1")
    lender.close()
    with Host(insecure_policy=True) as host:
        copy_image(host, f"docker://{registry.address}/crash/lent:1", f"dir:{tmp_path}/image")
    return tmp_path / "template", f"{registry.address}/crash/new:1"


def list_content(root):
    return {name: sorted(os.listdir(f"{root}/{name}")) for name in CONTENT}


def run_at_every_point(worker, tmp_path, template, scenario, fault):
    """Yields (answer, root) for each point in turn, the store as the fault left it."""
    source, reference = template
    for at in range(1, POINTS_MAX):
        root = tmp_path / f"root-{at}"
        shutil.copytree(source, root, symlinks=True)
        request = {"root": str(root), "run": str(tmp_path / "run"), "scenario": scenario}
        answer = worker(**request, reference=reference, at=at, fault=fault)
        yield at, answer, str(root)
        again = worker(**request, reference=reference, at=0, fault=fault)
        assert again.status in ({0, 3} if scenario in ONCE else {0}), (at, again.message)
        check_again(root, tmp_path)
        shutil.rmtree(root)
        if answer.status == 0 and answer.steps < at:
            return
    raise AssertionError("the scenario has no end")


def check_again(root, tmp_path):
    store = Store.open(str(root), str(tmp_path / "run"))
    try:
        assert check_store(store, read_data=True) == ()
        assert store.snapshots.find("lasting") or not os.path.exists(f"{root}/snapshots/lasting")
    finally:
        store.close()


@pytest.mark.parametrize("scenario", crashing.SCENARIOS)
def test_a_kill_at_any_write_point_leaves_a_clean_store(worker, tmp_path, template, scenario):
    killed = 0
    for _, answer, root in run_at_every_point(worker, tmp_path, template, scenario, "kill"):
        assert answer.status in {0, -9}, answer.message
        killed += answer.status == -9
        check_again(root, tmp_path)
    assert killed >= 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("scenario", crashing.SCENARIOS)
def test_a_failure_at_any_write_point_is_one_error_and_leaves_a_clean_store(
    worker, tmp_path, template, scenario, number
):
    before = list_content(template[0])
    failed = 0
    for at, answer, root in run_at_every_point(worker, tmp_path, template, scenario, number):
        assert answer.status in {0, 3}, (at, answer.message)
        failed += answer.status == 3
        check_again(root, tmp_path)
        if scenario in {"pull", "copy"} and answer.status == 3 and number == errno.ENOSPC:
            content = list_content(root)  # the step after the image's commit fails too: then it is there
            assert content == before or len(content["images"]) > len(before["images"]), at
    assert failed >= 1


@pytest.mark.parametrize("fault", ["kill", errno.ENOSPC], ids=["kill", "ENOSPC"])
@pytest.mark.parametrize("harm", ["layer", "database"])
def test_a_repair_that_is_cut_off_is_gone_on_with(worker, tmp_path, template, harm, fault):
    source, _ = template
    if harm == "layer":
        os.chmod(source / "layers/1/a/f", 0o600)
        os.unlink(source / "layers/2.list")
    else:
        os.unlink(source / "state.db")
    for _, answer, root in run_at_every_point(worker, tmp_path, template, "repair", fault):
        assert answer.status in {0, 3, -9}, answer.message
        assert os.path.isdir(f"{root}/snapshots/lasting/upper")


def test_the_jobs_come_by_every_write_point(worker, tmp_path, template):
    """Else a point would be tested by its name only; `test_write_points` finds those that have none."""
    source, reference = template
    names = set()
    for scenario in [*crashing.SCENARIOS, "repair"]:
        root = tmp_path / f"root-{scenario}"
        shutil.copytree(source, root, symlinks=True)
        request = {"root": str(root), "run": str(tmp_path / "run"), "scenario": scenario}
        if scenario == "repair":
            (root / "state.db").write_bytes(b"no database")
        answer = worker(**request, reference=reference, at=0, fault="kill")
        assert answer.status == 0, answer.message
        names |= set(answer.names)
    assert names == crashing.STEPS
