"""Where crashes are played: an engine in a process, its keeper, and what the machine holds besides."""

import errno
import os
import select
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rundlet.cli import walk_check
from rundlet.engine.engine import Engine
from rundlet.engine.settings import Settings
from rundlet.errors import Unavailable
from rundlet.failpoint import END, WAIT, Failpoints
from rundlet.keeper.client import Keeper
from tests.crash.engine_process import Act, Answer, EngineProcess, Ids

TURN_S = 10.0
_LOOK_S = 0.0005
SETTLE_S = 10.0
_ON_THEIR_WAY = ("first.", "helper.", "pod-init.")
_KEEPER_FILES = ("sock", "lock", "log", "journal")

VICTIMS = ("engine", "supervisor", "anchor", "keeper", "nursery", "all")
"""Who is killed at a point; "keeper" is supervisor and anchor, "nursery" the processes that wait for work."""
FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EMFILE": errno.EMFILE, "ENOMEM": errno.ENOMEM}
"""What the step that is about to begin raises instead."""
ITSELF = "itself"
"""The process at the point ends, where it is one on its way to be a container's or a pod's: those make the
plan's steps, and have no other name to be killed by."""


class Crash(NamedTuple):
    """At `point` ("name:before") of the call `act`, this happens: a victim, a fault or ITSELF."""

    act: int
    point: str
    what: str

    def describe(self, acts: tuple[Act, ...]) -> str:
        return f"{acts[self.act].__name__} {self.point} {self.what}"


class Traces(NamedTuple):
    """What nothing may be added to by a scene that has come to its end."""

    processes: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    cgroups: frozenset[str]
    interfaces: frozenset[str]
    leases: frozenset[str]
    files: frozenset[str]
    rows: frozenset[str]


class Stage:
    def __init__(self, settings: Settings, failpoints: str, ids: Ids) -> None:
        self.settings = settings
        self.fixed = ids
        self.points = Failpoints(failpoints)
        self._keeper = Keeper(settings.run_root)
        self._engine: EngineProcess | None = None
        self.has_struck = False

    @property
    def engine(self) -> EngineProcess:
        if self._engine is None:
            self._engine = EngineProcess(self.settings)
            assert self._engine.await_recovered(), "the engine's process died while it recovered"
        return self._engine

    def reopen(self) -> None:
        """Another engine, and with it another store."""
        self.close()
        self.engine  # noqa: B018 - made by being asked for

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._keeper.close()

    # -- calls ------------------------------------------------------------------------

    def call(self, act: Act, ids: Ids) -> Ids:
        """It must go well."""
        self.engine.begin(act, ids)
        answer = self.engine.receive(TURN_S)
        assert answer is not None, f"{act.__name__}: the engine's process died"
        assert not answer.failure, f"{act.__name__}: {answer.kind}: {answer.failure}"
        return ids | answer.ids

    def list_points(self, acts: tuple[Act, ...]) -> list[tuple[int, str]]:
        """(number of the call, point) of all that a whole scene passes."""
        ids, found = dict(self.fixed), []
        self.points.take_passed()
        for number, act in enumerate(acts):
            ids = self.call(act, ids)
            found += [(number, point) for point in sorted(self.points.take_passed())]
        return found

    def play(self, acts: tuple[Act, ...], crash: Crash) -> Ids:
        """The scene with a crash: the call is made again where it failed, and the rest must go well.

        `has_struck` says afterwards whether anybody came to the point, and the victim was there.
        """
        ids = dict(self.fixed)
        for act in acts[: crash.act]:
            ids = self.call(act, ids)
        answer = self.crash(acts[crash.act], ids, crash)
        if answer is None or answer.failure:
            ids = self.call(acts[crash.act], ids)
        else:
            ids |= answer.ids
        for act in acts[crash.act + 1 :]:
            ids = self.call(act, ids)
        return ids

    def play_recovery(self, acts: tuple[Act, ...], crash: Crash, point: str = "") -> set[str]:
        """The engine is killed at a point, and the next one at `point` of its recovery; the third brings the
        scene to its end.  The points that the recovery passed."""
        ids = dict(self.fixed)
        for act in acts[: crash.act]:
            ids = self.call(act, ids)
        self.crash(acts[crash.act], ids, crash)
        self.points.take_passed()
        if point:
            self.points.arm(point, END)
            self._engine = EngineProcess(self.settings)
            if not self._engine.await_recovered():
                self.bury_engine()
            self.points.let_go()
        self.engine  # noqa: B018 - made by being asked for
        passed = self.points.take_passed()
        for act in acts[crash.act :]:
            ids = self.call(act, ids)
        return passed

    def leave_and_play(self, acts: tuple[Act, ...], point: str, *, ends: bool) -> None:
        """The scene, whose first call comes when the keeper is at `point` of its leaving, or has ended there."""
        self.points.arm(point, END if ends else WAIT)
        self.close()
        self._await_point()
        engine = self.engine
        engine.begin(acts[0], dict(self.fixed))
        self.points.let_go()
        answer = engine.receive(TURN_S)
        assert answer is not None
        assert not answer.failure, f"{answer.kind}: {answer.failure}"
        ids = self.fixed | answer.ids
        for act in acts[1:]:
            ids = self.call(act, ids)

    def _await_point(self) -> None:
        deadline = time.monotonic() + TURN_S
        while not self.points.is_reached():
            assert time.monotonic() < deadline, "nobody came to the point"
            time.sleep(_LOOK_S)

    def crash(self, act: Act, ids: Ids, crash: Crash) -> Answer | None:
        """What the client heard; None when the engine was killed before it could answer."""
        engine = self.engine
        victims = self._find_victims(crash.what)
        self.points.arm(crash.point, END if crash.what == ITSELF else FAULTS.get(crash.what, WAIT))
        engine.begin(act, ids)
        deadline = time.monotonic() + TURN_S
        while not self.points.is_reached() and not engine.has_answered():
            assert time.monotonic() < deadline, "neither the point nor an answer"
            time.sleep(_LOOK_S)
        was_reached = self.points.is_reached()
        self.has_struck = was_reached and (kill(victims) > 0 or crash.what not in VICTIMS)
        self.points.let_go()
        answer = engine.receive(TURN_S)
        if answer is None or (was_reached and engine.pid in victims):
            self.bury_engine()
        if was_reached:
            self._await_keeper(set(victims))
        return answer

    def _find_victims(self, what: str) -> list[int]:
        victims = [self.engine.pid] if what in ("engine", "all") else []
        if what in ("engine", *FAULTS, ITSELF):
            return victims
        anchor, supervisor = self.find_keeper()
        if what == "nursery":
            return list_nursery(supervisor)
        victims += [anchor] if what != "supervisor" else []
        victims += [supervisor] if what != "anchor" else []
        return victims

    def find_keeper(self) -> tuple[int, int]:
        """The pids of anchor and supervisor."""
        while True:
            try:
                found = self._keeper.call("version", {}).message
            except Unavailable:
                continue
            self._keeper.close()
            if found["anchor"] != 1:  # else the supervisor has taken the anchor's place, and not forked yet
                return found["anchor"], found["pid"]

    def _await_keeper(self, dead: set[int]) -> None:
        """Until others have taken the places of those that were killed."""
        if dead - {self._engine.pid if self._engine else 0}:
            while dead.intersection(self.find_keeper()):
                time.sleep(_LOOK_S)

    def bury_engine(self) -> None:
        """It has been killed; the next call makes another."""
        self.engine.wait()
        self._engine = None

    def clear(self) -> None:
        """After a failure: whatever pods are left are removed by a new engine."""
        self.abandon_engine()
        self.call(remove_everything, self.fixed)

    def abandon_engine(self) -> None:
        """Whatever it is at: it may wait for ever for somebody who stopped at a point."""
        self.points.let_go()
        if self._engine is not None:
            self._engine.kill()
            self.bury_engine()

    def await_no_keeper(self) -> bool:
        """Whether all of it leaves, now that nobody is connected and there is nothing to keep.

        Those of other tests' run roots, in the same node, may stay.
        """
        deadline = time.monotonic() + SETTLE_S
        while any(
            is_keeper(pid, self.settings.run_root) for pid in filter(str.isdecimal, os.listdir("/proc"))
        ):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    # -- what is there ------------------------------------------------------------------

    def take_traces(self) -> Traces:
        """Without the engine, and the keeper, which leaves when it likes."""
        return take_traces(self.settings, self._is_own)

    def _is_own(self, process: str) -> bool:
        pid = process.split(" ", 1)[0]
        return (self._engine is not None and int(pid) == self._engine.pid) or is_keeper(pid)

    def find_leftovers(self, before: Traces) -> list[str]:
        """What was not there before, once nothing is or the patience is over."""
        return find_leftovers(before, self.take_traces)


def take_traces(settings: Settings, is_own: Callable[[str], bool]) -> Traces:
    """What this machine and the places of `settings` hold; without the processes that are the caller's own."""
    seen = walk_check.take_traces(walk_check.Scope(settings.run_root, settings.cni_cache_dir))
    return Traces(
        processes=frozenset(name for name in seen.processes if not is_own(name)),
        mounts=seen.mounts,
        namespaces=seen.namespaces,
        cgroups=seen.cgroups,
        interfaces=seen.interfaces,
        leases=seen.leases,
        files=frozenset(_list_files(settings, seen.files)),
        rows=frozenset(count_rows(f"{settings.root}/state.db")),
    )


def _list_files(settings: Settings, below_run_root: frozenset[str]) -> Iterator[str]:
    keeper = f"{settings.run_root}/keeper"
    # What a killed engine was doing stays to be asked for; its locks are the next holder's.
    kept = tuple(f"{settings.run_root}/{name}" for name in ("trace/", "lock-"))
    keepers = {f"{keeper}/{name}" for name in _KEEPER_FILES}
    yield from (path for path in below_run_root - keepers if not path.startswith(kept))
    for path in walk_check.list_files(settings.root):
        if not os.path.basename(path).startswith("state.db"):
            yield path


def find_leftovers(before: Traces, look: Callable[[], Traces]) -> list[str]:
    """What was not there before, once nothing is or the patience is over."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        left = [
            f"{kind}: {name}"
            for kind, old, new in zip(Traces._fields, before, look(), strict=True)
            for name in sorted(new - old)
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.005)


def remove_everything(engine: Engine, ids: Ids) -> None:
    for pod in engine.pods.list():
        engine.pods.remove(pod.id)


def kill(pids: list[int]) -> int:
    """All at the same time: nobody sees another one die.  How many, when they have; some may have before."""
    pidfds = list(open_living(pids))
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pidfd in pidfds:
            signal.pidfd_send_signal(pidfd, number)
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], TURN_S)[0]
        os.close(pidfd)
    return len(pidfds)


def open_living(pids: list[int]) -> Iterator[int]:
    """A pidfd of each that is still there: one that waited for work may have done it, and left, meanwhile."""
    for pid in pids:
        try:
            yield os.pidfd_open(pid)
        except ProcessLookupError:
            pass


def list_nursery(supervisor: int) -> list[int]:
    """The supervisor's children that are still what it is: neither a container's process nor a pod's."""
    with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split() if is_keeper(child)]


def is_keeper(pid: str, run_root: str = "") -> bool:
    """A process of the keeper's own, of the `run_root` if that is given: by its arguments and its cgroup.

    A container's has the same arguments until it executes.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            own = not run_root or run_root.encode() in words
            return own and b"serve" in words and b"-I" in words and "/crash" not in file.read()
    except OSError:
        return False  # it has just gone


def count_rows(path: str) -> Iterator[str]:
    """ "table: rows" of each table."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            yield f"{name}: {connection.execute(f'SELECT count(*) FROM {name}').fetchone()[0]}"
    finally:
        connection.close()


def list_crashes(points: list[tuple[int, str]]) -> list[Crash]:
    """Everything that can happen at each of the points."""
    found = []
    for act, point in points:
        found += [Crash(act, point, victim) for victim in VICTIMS]
        if point.endswith(":before"):
            found += [Crash(act, point, fault) for fault in FAULTS]
        if not point.islower() or point.startswith(_ON_THEIR_WAY):
            found.append(Crash(act, point, ITSELF))
    return found
