"""What a fuzz target is, and how one input is played.

A target is a module of tests/fuzz/targets with

    SEEDS     inputs that are right, so that a mutation of one goes deep
    MUTATE    how its inputs are changed (`tests.fuzz.mutation`)
    check     bytes → None: what must hold for every input there is

`check` may end by an error of rundlet's taxonomy: a hostile input is refused.  Whatever else it raises is a
fault, and so is an error that says `Internal` or more than one line, and an input that takes long or much.
"""

import importlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from rundlet.errors import Error, Internal
from tests.fuzz.mutation import Mutation

HERE = Path(__file__).parent
CPU_S_MAX = 2.0  # an input is at most 64 KiB; the slowest that is right takes some 20 ms
GROWTH_BYTES_MAX = 256 << 20

P = ParamSpec("P")
T = TypeVar("T")


class Target(NamedTuple):
    name: str
    seeds: tuple[bytes, ...]
    mutate: Mutation
    check: Callable[[bytes], None]

    @property
    def corpus(self) -> Path:
        return HERE / "corpus" / self.name

    def inputs(self) -> list[bytes]:
        """What is right, then all that is kept: what failed once, and what goes where nothing else does."""
        kept = sorted(self.corpus.iterdir()) if self.corpus.is_dir() else []
        return [*self.seeds, *(path.read_bytes() for path in kept)]


def list_targets() -> list[str]:
    return sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py"))


def load(name: str) -> Target:
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    return Target(name, tuple(module.SEEDS), module.MUTATE, module.check)


def play(target: Target, data: bytes) -> None:
    """One input; AssertionError, or whatever came out of the code, for a fault."""
    began_s, began_kib = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        target.check(data)
    except Error as error:
        assert not isinstance(error, Internal), error
        assert error.message.isprintable(), f"an error's message is one line: {error.message!r}"
    spent_s = time.thread_time() - began_s
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began_kib) << 10
    assert spent_s < CPU_S_MAX, f"{len(data)} bytes took {spent_s:.1f} s"
    assert grown < GROWTH_BYTES_MAX, f"{len(data)} bytes took {grown >> 20} MiB"


def again(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What we wrote ourselves is read: an error is no refusal any more."""
    try:
        return parse(*args, **kwargs)
    except Error as error:
        raise AssertionError(f"what was written is not read: {error}") from error
