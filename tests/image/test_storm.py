"""kill -9, again and again, while several processes pull, remove, prune and make snapshots of one store.

RUNDLET_STORM_KILLS says how often: 20 unless it is set; `nox -s storm` kills 200 times.
"""

import os
import random
import subprocess
import sys

import pytest

from rundlet.image.pull import pull_image
from rundlet.store.check import check_store
from rundlet.store.store import Places, Store
from tests.image import storming
from tests.image.conftest import push_family

KILLS = int(os.environ.get("RUNDLET_STORM_KILLS", "20"))
WORKERS = 3


def start(tmp_path, seed, references):
    command = [
        sys.executable,
        "-m",
        storming.__name__,
        str(tmp_path / "root"),
        str(tmp_path / "run"),
        str(seed),
    ]
    return subprocess.Popen([*command, *references], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.timeout(60 + 3 * KILLS)
def test_the_store_is_clean_after_a_storm_of_kills(tmp_path, registry, client):
    references = push_family(client, f"{registry.address}/storm/image", images=4, files=60)
    chance = random.Random(KILLS)
    workers = [start(tmp_path, seed, references) for seed in range(WORKERS)]
    try:
        for kill in range(KILLS):
            victim = chance.randrange(WORKERS)
            # as many turns as chance says, then somewhere in the next one
            assert workers[victim].stdout.read(1 + chance.randrange(4)), (
                workers[victim].stderr.read().decode()
            )
            workers[victim].kill()
            _, errors = workers[victim].communicate()
            assert b"Traceback" not in errors, errors.decode()
            workers[victim] = start(tmp_path, WORKERS + kill, references)
        for worker in workers:
            assert worker.stdout.read(1)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    try:
        assert check_store(store, read_data=True) == ()
        for reference in references:
            pull_image(store, client, reference)
        assert check_store(store, read_data=True) == ()
        assert len(store.images.list()) == len(references)
    finally:
        store.close()


@pytest.mark.slow
def test_a_check_of_a_store_at_work_finds_nothing(tmp_path, registry, client):
    """What is under way is no damage."""
    references = push_family(client, f"{registry.address}/storm/image", images=4, files=60)
    workers = [start(tmp_path, seed, references) for seed in range(2)]
    try:
        for worker in workers:
            assert worker.stdout.read(3), worker.stderr.read().decode()
        store = Store.open_untidied(Places(str(tmp_path / "root"), str(tmp_path / "run")))
        for _ in range(15):
            assert check_store(store, read_data=True) == ()
            assert workers[0].stdout.read(1)
        store.close()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
