"""The life of containers of this machine: create, start, stop, remove.

    create   `containercreation`
    start    created: gate opened.  Ended: its pod and itself revived first
    stop     stopped, its own pod's network let go
    remove   its own pod with it, else itself → log → name

A verb on one container holds its lock, whichever process it comes from; waiting for it to end
holds none.  Containers that were made over CRI are listed, and obey when they are named by their id;
nothing is done to them otherwise.
"""

import os
import signal
from collections.abc import Callable

from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.names import process_identity
from rundlet.engine.signals import parse_signal
from rundlet.engine.undo import attempt
from rundlet.errors import FailedPrecondition, NotFound
from rundlet.local.attendance import Attendance
from rundlet.local.containercreation import ContainerCreation
from rundlet.local.containerwork import tell_container
from rundlet.local.duties import is_demanding, needs_look
from rundlet.local.holdings import Holdings
from rundlet.local.locks import ContainerLocks
from rundlet.local.names import check_name
from rundlet.local.options import RunOptions
from rundlet.local.records import LocalRecord, LocalRecords, want
from rundlet.local.wish import Wishes


class Containers(ContainerCreation):
    """The containers of one machine; thread-safe."""

    def __init__(
        self,
        engine: Engine,
        records: LocalRecords,
        locks: ContainerLocks,
        directory: str,
        holdings: Holdings,
        find_pod: Callable[[str], str],
        wishes: Wishes,
        attendance: Attendance | None = None,
    ) -> None:
        """`directory` has a directory for each container; `find_pod` gives the id of a pod by its name.

        `attendance` sees to the end of what is started here.
        """
        super().__init__(engine, records, locks, directory, holdings, find_pod)
        self._wishes = wishes
        self._attendance = attendance
        if attendance is not None:
            attendance.begin(self.settle)

    def run(self, asked: RunOptions) -> str:
        """`create` and `start` in one; a container that cannot be started is removed again."""
        container_id = self.create(asked)
        try:
            self.start(container_id)
        except BaseException:
            attempt(f"remove container {container_id[:12]}", self.remove, container_id, force=True)
            raise
        return container_id

    def start(self, name: str, *, attended: bool = False) -> None:
        """Let a created container run, or one that has ended run anew; nothing happens to one that runs.

        `attended`: the caller stays until it ends, and calls `settle` then; nobody else is needed for that.
        Raises NotFound, and what the engine raises; a program that cannot be run leaves it ended.
        """
        found = self.find(name)
        if found.record is None:
            self._engine.containers.start(found.id)
            return
        record = found.record
        for needed in record.asked.requires:
            self.start(needed)
        minded = not (attended or self._attendance) or is_demanding(record.asked)
        with self._locks.hold(record.id):
            state = self._engine.containers.status(record.id).state
            if state == "running":
                return
            self._want(record.id, "running")
            if minded:
                self._wishes.wish(look=False)  # before the start, or it might miss the end
            else:
                self._wishes.attend(record.id)
            try:
                self._begin(record, state)
            except BaseException:
                if minded:
                    self._wishes.wish(look=True)  # it may find that it is not needed
                self._wishes.has_settled(record.id)
                self._want(record.id, "stopped")  # no policy brings back what a person could not start
                raise
        if needs_look(record.asked):
            self._wishes.wish(look=True)

    def start_again(self, container_id: str, due_at_ns: int) -> None:
        """The restart that was due then, unless it was done already or somebody has decided otherwise."""
        with self._locks.hold(container_id):
            record = self.find(container_id).require_local("restart")
            status = self._engine.containers.status(record.id)
            is_due = record.state.wanted == "running" and record.state.restart_at_ns == due_at_ns
            is_ready = status.state == "created" and status.lives > record.state.restart_after
            if is_due and (
                is_ready or (status.state == "exited" and status.lives == record.state.restart_after)
            ):
                self._begin(record, status.state)

    def _begin(self, record: LocalRecord, state: str) -> None:
        if state != "created":
            self._revive(record)
        self._engine.containers.start(record.id)

    def prepare(self, name: str) -> None:
        """An ended container waits for its start anew, so that it can be attached to before."""
        record = self.find(name).require_local("start")
        with self._locks.hold(record.id):
            if self._engine.containers.status(record.id).state == "exited":
                self._revive(record)

    def _want(self, container_id: str, wanted: str) -> None:
        self._records.change_state(container_id, lambda state: want(state, wanted))  # type: ignore[arg-type]

    def _revive(self, record: LocalRecord) -> None:
        self._holdings.ready(record)
        self._make_ready(record.pod_id)
        self._holdings.name_neighbours(record)
        self._engine.containers.revive(record.id)

    def stop(self, name: str, timeout_s: float | None = None) -> None:
        """The stop signal, `timeout_s` of patience (None: what was asked at `create`), SIGKILL; the network is let go.

        Nothing happens to one that has ended.
        """
        found = self.find(name)
        if found.record is None:
            self._engine.containers.stop(found.id, timeout_s or 0)
            return
        record = found.record
        with self._locks.hold(record.id):
            self._want(record.id, "stopped")
            was_running = self._engine.containers.status(record.id).state == "running"
            self._engine.containers.stop(
                record.id, record.asked.stop_timeout_s if timeout_s is None else timeout_s
            )
            self._let_go(record)
        if was_running:
            tell_container(self._engine, record, "stop")

    def kill(self, name: str, signal_name: str = "SIGKILL") -> None:
        """Raises FailedPrecondition unless it runs."""
        found = self.find(name)
        number = parse_signal(signal_name)
        if found.record is not None and number == signal.SIGKILL:
            self._want(found.id, "stopped")
        self._engine.containers.kill(found.id, number)
        if found.record is not None:
            tell_container(self._engine, found.record, "kill")

    def restart(self, name: str, timeout_s: float | None = None) -> None:
        """`stop` and `start` in one."""
        self.stop(name, timeout_s)
        self.start(name)

    def settle(self, name: str) -> None:
        """What follows the end of a container that nothing starts again: its network is let go, or all of it (`--rm`).

        Idempotent; whoever hears of the end calls it, who attended the start with the id.
        """
        try:
            record = self.find(name).require_local("settle")
            if record.asked.remove:
                self.remove(record.id)
                self._remove_image(record)
            else:
                with self._locks.hold(record.id):
                    if self._engine.containers.status(record.id).state == "exited":
                        self._let_go(record)
        except NotFound:
            pass  # somebody was faster
        self._wishes.has_settled(name)

    def _remove_image(self, record: LocalRecord) -> None:
        """`--rmi`: one that other containers use stays."""
        if record.asked.remove_image:
            try:
                self._engine.images.remove(record.asked.image)
            except FailedPrecondition:
                pass

    def _let_go(self, record: LocalRecord) -> None:
        """The network and namespaces of a pod of its own."""
        if record.own_pod:
            self._engine.pods.stop(record.pod_id)
            self._holdings.name_neighbours(record)

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and all that it has, with `volumes` its anonymous ones too (`--rm` always).  Raises FailedPrecondition while it runs, unless `force` kills it."""
        found = self.find(name)
        if not force and self._engine.containers.status(found.id).state == "running":
            raise FailedPrecondition(
                f"cannot remove container {name}: it is running", hint="stop it first, or force the removal"
            )
        if found.record is None:
            self._engine.containers.remove(found.id)
            return
        record = found.record
        with self._locks.hold(record.id):
            self._records.claim(record.id, process_identity(os.getpid()))
            self.clear(record)
        self._holdings.release(record, volumes=volumes or record.asked.remove)
        self._wishes.has_settled(record.id)

    def discard(self, record: LocalRecord) -> None:
        """What a process that died has left of a container, and what it held.  Idempotent."""
        self.clear(record)
        self._holdings.release(record, volumes=bool(record.owner) or record.asked.remove)

    def wait(self, name: str, timeout_s: float | None = None) -> int | None:
        """As every container's; also of one that was started here and removed at its end."""
        try:
            return super().wait(name, timeout_s)
        except NotFound:
            code = self._attendance.recall(name) if self._attendance is not None else None
            if code is None:
                raise
            return code

    def rename(self, name: str, new_name: str) -> None:
        """Raises AlreadyExists for a taken name."""
        check_name(new_name, "container")
        record = self.find(name).require_local("rename")
        self._records.rename(record.id, new_name)
        tell_container(self._engine, replace(record, name=new_name), "rename")
