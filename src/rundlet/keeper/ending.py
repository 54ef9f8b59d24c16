"""Exit and delete: how a container ends, who is told, what is cleared away."""

import os
import signal
import sys
import time
from collections.abc import Callable

from rundlet.cgroup.oom import OomEvents
from rundlet.cgroup.stats import read_oom_kills
from rundlet.errors import Error, FailedPrecondition, Internal
from rundlet.keeper.container import Container
from rundlet.keeper.core import Core
from rundlet.keeper.hooks import read_hooks, start_kinds
from rundlet.keeper.identity import find_wait_status, peek_wait_status
from rundlet.keeper.launch import Pending
from rundlet.keeper.link import Ended
from rundlet.keeper.protocol import ExitRecord, OomEvent
from rundlet.keeper.server import Request
from rundlet.runtime.resctrl import remove_groups
from rundlet.step import step

_OOM_LOOKS = 20
_OOM_PAUSE_S = 0.01


def _nothing(container: Container) -> None:
    pass


def _always(_: Container) -> bool:
    return True


class Ending:
    """Watches the containers' processes, and knows who waits for their end."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: dict[str, list[Request]] = {}
        self._deleting: dict[str, list[Request]] = {}
        self._watching: list[Request] = []
        self.failed: dict[str, Pending] = {}  # those that never got ready
        self.before_exit = _nothing
        self.on_unready: Callable[[], None] = lambda: None
        # What `keeper.external` has to do with containers that a runtime made.
        self.may_destroy: Callable[[Container], bool] = _always
        self.before_destroy = _nothing
        self.on_stranger: Callable[[Ended], None] = lambda _: None
        # Whether a minder that begins to watch has something to do at once; what an end means that none has heard.
        self.on_minder: Callable[[], bool] = lambda: False
        self.on_unminded: Callable[[], None] = lambda: None

    # -- exit -------------------------------------------------------------------

    def watch_process(self, container: Container) -> None:
        self._core.loop.add(container.pidfd, lambda: self._on_exit(container))

    def _on_exit(self, container: Container) -> None:
        pid = container.pid
        self.before_exit(container)
        if container.pid != pid:
            return  # its helper has ended, and the first process lives
        self._core.loop.remove(container.pidfd)
        if container.adopted:
            self._finish_adopted(container)
            return
        # It stays a zombie until the exit is on disk: should this process be killed
        # before, the anchor reaps it and tells the next one.
        self.finish(container, peek_wait_status(container.pid), time.time_ns())
        with step("keeper.reap"):
            os.waitpid(container.pid, 0)

    def _finish_adopted(self, container: Container) -> None:
        """Somebody else's child: the kernel says how it ended, or the anchor, or nobody can."""
        wait_status = find_wait_status(container.pid, container.pidfd)
        if wait_status is None:
            self.take_exits(self._core.anchor.sync())
        if container.exit is None:
            self.finish(container, wait_status, time.time_ns())

    def take_exits(self, exits: list[Ended]) -> None:
        """What the anchor has reaped; it may forget it when it is on disk."""
        for ended in exits:
            for container in list(self._core.containers.values()):
                if container.adopted and container.pid == ended.pid and container.exit is None:
                    self.finish(container, ended.wait_status, ended.finished_at_ns)
                    break
            else:
                self.on_stranger(ended)
            self._core.anchor.done(ended.pid)

    def finish(self, container: Container, wait_status: int | None, finished_at_ns: int) -> None:
        if container.status == "creating":
            self._fail(container)
            return
        oom_killed = self._look_for_oom(container)
        record = container.finish(wait_status, finished_at_ns, oom_killed)
        container.close()
        self._core.anchor.drop(container.id)
        for request in self._waiting.pop(container.id, []):
            request.answer({"exit": record})
        self._tell_watchers(record)
        if container.id in self._deleting and self.may_destroy(container):
            self.destroy(container)

    def _fail(self, container: Container) -> None:
        """It ended before it was ready: whoever asked for it is told why, when nothing is left of it."""
        self.on_unready()
        self.destroy(container)
        pending = self.failed.pop(container.id, None)
        if pending is not None:
            died = FailedPrecondition(f"container {container.id}: its first process died before it was ready")
            pending.fail(pending.error or died)

    def _tell_watchers(self, record: ExitRecord) -> None:
        for request in self._live_watchers():
            request.answer({"exit": record})
        if not self._minders():
            self.on_unminded()

    def _live_watchers(self) -> list[Request]:
        self._watching = [request for request in self._watching if not request.is_abandoned]
        return self._watching

    # -- memory -----------------------------------------------------------------

    def watch_memory(self, container: Container) -> None:
        """Be told of kills for want of memory, where the host can."""
        if container.group is None or container.exit is not None or container.oom is not None:
            return
        try:
            events = OomEvents(container.group, is_new=not container.adopted)
        except (OSError, Error):
            return
        container.oom = events
        listen = self._core.loop.add_priority if events.is_priority else self._core.loop.add
        listen(events.fd, lambda: self._on_oom(container, _OOM_LOOKS))

    def _on_oom(self, container: Container, looks: int) -> None:
        """Told once it is seen in the counter, which the kernel raises a moment after it rings."""
        if container.oom is None:
            return
        if container.oom.take():
            self._tell_oom(container)
        elif looks:
            self._core.loop.later(_OOM_PAUSE_S, lambda: self._on_oom(container, looks - 1))

    def _look_for_oom(self, container: Container) -> bool:
        """Whether any process of it was ever killed for want of memory."""
        if container.oom is None:
            return container.group is not None and read_oom_kills(container.group) > 0
        if container.oom.take():
            self._tell_oom(container)
        return container.oom.total > 0

    def _tell_oom(self, container: Container) -> None:
        event = OomEvent(container.id, time.time_ns())
        for request in self._live_watchers():
            if request.args.get("oom"):
                request.answer({"oom": event})

    # -- delete -----------------------------------------------------------------

    def destroy(self, container: Container) -> None:
        """Nothing of it is left afterwards, and whoever asked for that is told.

        What cannot be removed now keeps it here, so that it can be asked for again.
        """
        hooks = read_hooks(container)
        container.close()
        self._core.anchor.drop(container.id)
        requests = self._deleting.pop(container.id, [])
        try:
            _remove_traces(container)
        except (Error, OSError) as error:
            failure = error if isinstance(error, Error) else Internal(f"delete {container.id}: {error}")
            print(f"keeper: container {container.id}: {failure}", file=sys.stderr, flush=True)
            for request in requests:
                request.fail(failure)
            return
        self._core.containers.pop(container.id, None)

        def then(error: Error | None) -> None:
            if error is not None:
                print(f"keeper: container {container.id}: {error}", file=sys.stderr, flush=True)
            for request in requests:
                request.answer({})

        if hooks is not None and hooks.poststop:
            start_kinds(self._core.loop, hooks, ("poststop",), "stopped", 0, then, go_on=True)
        else:
            then(None)

    def serve_delete(self, request: Request) -> None:
        container = self._core.containers.get(request.args["container_id"])
        if container is None:
            request.answer({})
            return
        self._deleting.setdefault(container.id, []).append(request)
        self.end(container)

    def end(self, container: Container) -> None:
        """Destroy it, as soon as nothing of it runs any more."""
        if not self.may_destroy(container):
            self.before_destroy(container)
        elif container.exit is not None or not container.pid:
            self.destroy(container)
        else:
            container.send_signal(signal.SIGKILL)

    def is_deleting(self, container: Container) -> bool:
        return container.id in self._deleting

    # -- those who wait ---------------------------------------------------------

    def serve_wait(self, request: Request) -> None:
        container = self._core.find(request)
        if container.exit is not None:
            request.answer({"exit": container.exit})
            return
        waiting = [other for other in self._waiting.get(container.id, []) if not other.is_abandoned]
        self._waiting[container.id] = [*waiting, request]

    def serve_watch(self, request: Request) -> None:
        self._watching.append(request)
        request.answer({})
        if request.args.get("minds"):
            request.answer({"mind": self.on_minder()})

    def tell_minder(self, look: bool) -> bool:
        """Whether anybody watches for that, and heard it."""
        for request in self._minders():
            request.answer({"mind": look})
        return bool(self._minders())

    def _minders(self) -> list[Request]:
        return [request for request in self._live_watchers() if request.args.get("minds")]


def _remove_traces(container: Container) -> None:
    """Processes, cgroup, files; Error or OSError when something stays."""
    if container.group is not None:
        with step("keeper.kill-cgroup"):
            container.group.kill()
        with step("keeper.remove-cgroup"):
            container.group.remove()
    remove_groups(container.id)
    container.remove_files()
