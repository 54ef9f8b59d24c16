"""One of many processes at work on a store, until it is killed: `storming.py ROOT RUN SEED REFERENCE…`.

Each turn is a pull, a removal, a prune, a new name, a snapshot made or dropped, by chance.
"""

import random
import sys

from rundlet.errors import AlreadyExists, FailedPrecondition, NotFound
from rundlet.image.pull import pull_image
from rundlet.registry.client import RegistryClient
from rundlet.store.explain import explain_all, plan_prune, plan_unfinished, prune
from rundlet.store.store import Store


class Worker:
    def __init__(self, root, run, seed, references):
        self.chance = random.Random(seed)
        self.references = references
        self.client = RegistryClient()
        self.store = Store.open(root, run)

    def pull(self):
        pull_image(self.store, self.client, self.chance.choice(self.references))

    def remove(self):
        images = self.store.images.list()
        if images:
            self.store.images.remove_unless_used(self.chance.choice(images).id)

    def prune(self):
        explanations = explain_all(self.store)
        prune(self.store, (*plan_prune(explanations, named=True), *plan_unfinished(self.store)))

    def prepare(self):
        images = self.store.images.list()
        if images:
            self.store.snapshots.prepare(f"box{self.chance.randrange(20)}", self.chance.choice(images).id)

    def drop(self):
        self.store.snapshots.remove(f"box{self.chance.randrange(20)}")

    def rename(self):
        images = self.store.images.list()
        if images:
            image = self.chance.choice(images)
            self.store.images.tag(image.id, f"registry.example/name:{self.chance.randrange(5)}")

    def run(self):
        turns = (self.pull, self.pull, self.remove, self.prune, self.prepare, self.drop, self.rename)
        while True:
            try:
                self.chance.choice(turns)()
            except (AlreadyExists, FailedPrecondition, NotFound):
                pass  # another process was faster
            print(".", end="", flush=True)


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]).run()
