"""A process that works on a store and is killed, or fails, at its n-th step.

Reads requests from stdin, a JSON object a line, and forks for each (which costs a few
milliseconds, not the third of a second of a new Python); answers with a line:

    {"root", "run", "scenario", "reference", "at", "fault"}    at: 0 for none; fault: "kill" or an errno
    {"status": 0 | 3 (an error of ours) | -9 | else, "message", "steps", "names"}
"""

import json
import os
import signal
import sys
import traceback
from contextlib import nullcontext

from rundlet.errors import Error
from rundlet.image.api import copy_image
from rundlet.image.place import Host
from rundlet.image.pull import pull_image
from rundlet.image.repair import repair_store
from rundlet.registry.client import RegistryClient
from rundlet.step import watch
from rundlet.store.explain import explain_all, plan_prune, prune
from rundlet.store.store import Places, Store

# What the store writes; `test_write_points` compares this with the code.
STEPS = frozenset(
    """store.borrow store.commit store.flush store.free store.sweep store.sync store.unlink
    blob.draft blob.write blob.record blob.rename
    layer.download layer.unpack layer.listing layer.rename layer.move-away
    image.publish image.forget note.rename
    snapshot.directories snapshot.move-away snapshot.remove
    database.sync database.move-away database.rename""".split()
)


class Fault:
    """Counts what passes by, a step twice: as it begins and as it has ended."""

    def __init__(self, at, fault):
        self.passed = 0
        self.at = at
        self.fault = fault
        self.names = set()

    def __call__(self, name, _subject):
        if name not in STEPS:
            return nullcontext()
        self.names.add(name)
        return Watched(self, ends=name != "store.unlink")

    def pass_by(self):
        self.passed += 1
        if self.passed != self.at:
            return
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.fault, os.strerror(self.fault))


class Watched:
    """`ends`: its end is a point, too; that of an unlink is as good as what comes next, and they are many."""

    def __init__(self, fault, *, ends):
        self.fault = fault
        self.ends = ends

    def __enter__(self):
        self.fault.pass_by()

    def __exit__(self, kind, *_):
        if kind is None and self.ends:
            self.fault.pass_by()


def pull(store, reference):
    pull_image(store, RegistryClient(), reference)


def remove(store, _reference):
    for image in store.images.list():
        store.images.remove(image.id)


def prune_all(store, _reference):
    prune(store, plan_prune(explain_all(store), named=True))


def prepare(store, _reference):
    store.snapshots.prepare("box", store.images.list()[0].id)


def drop(store, _reference):
    store.snapshots.remove("lasting")


def rename(store, _reference):
    image = store.images.list()[0]
    store.images.tag(image.id, "docker.io/library/other:1")
    store.images.untag(image.names[0])
    store.images.pin(image.id, pinned=True)


def copy(store, _reference):
    """An image from a `dir:` that lies beside the store."""
    place = f"{os.path.dirname(store.root)}/image"
    with Host(store.root, store.places.run, insecure_policy=True) as host:
        copy_image(host, f"dir:{place}", "containers-storage:registry.example/copied:1")


def borrow(store, _reference):
    """The images of a store that lies beside it, and then no more."""
    for lenders in ([f"{os.path.dirname(store.root)}/lender"], []):
        Store.open(store.root, store.places.run, additional_roots=lenders).close()


SCENARIOS = {each.__name__: each for each in (pull, remove, prune_all, prepare, drop, rename, copy, borrow)}


def work(request):
    fault = Fault(request["at"], request["fault"])
    watch(fault)
    message, status = "", 0
    try:
        if request["scenario"] == "repair":
            repair_store(Places(request["root"], request["run"]), None, read_data=True)
        else:
            store = Store.open(request["root"], request["run"])
            try:
                SCENARIOS[request["scenario"]](store, request["reference"])
            finally:
                store.close()
    except Error as error:
        message, status = f"{type(error).__name__}: {error}", 3
    except BaseException:  # noqa: BLE001 - told to the test
        message, status = traceback.format_exc(), 1
    return {"status": status, "message": message, "steps": fault.passed, "names": sorted(fault.names)}


def serve(line):
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write_fd, json.dumps(work(json.loads(line))).encode())
        os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return json.dumps({"status": -os.WTERMSIG(status), "message": "", "steps": 0, "names": []})
    return answer.decode()


if __name__ == "__main__":
    for line in sys.stdin:
        print(serve(line), flush=True)
