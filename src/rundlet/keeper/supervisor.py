"""The supervisor: one thread that starts containers, watches them and answers the engine.

It forks instead of executing a helper, so a container costs a fork of a small
warm process.  Requests arrive on the socket that the anchor opened; exits arrive
by pidfd, or from the anchor for containers that an earlier supervisor made.
"""

import _socket
import gc
import os
import socket
import time
from typing import NoReturn

from rundlet.cgroup.layout import detect_layout
from rundlet.errors import FailedPrecondition
from rundlet.keeper.core import Core, check_id
from rundlet.keeper.creation import Creation
from rundlet.keeper.ending import Ending
from rundlet.keeper.execs import Execs
from rundlet.keeper.external import Externals
from rundlet.keeper.files import remove_volatile
from rundlet.keeper.hold import Store
from rundlet.keeper.launch import Launcher
from rundlet.keeper.link import AnchorLink
from rundlet.keeper.loop import Loop
from rundlet.keeper.minder import Minder
from rundlet.keeper.place import keeper_dir
from rundlet.keeper.pods import Init, PodPlan, Pods
from rundlet.keeper.protocol import OLDEST_VERSION, PROTOCOL_VERSION
from rundlet.keeper.recovery import restore_containers
from rundlet.keeper.server import Request, Server, Verb
from rundlet.keeper.strays import Strays, reap
from rundlet.keeper.stream import Scratch
from rundlet.kernel.capability import last_capability
from rundlet.kernel.malloc import give_back
from rundlet.plan.steps import freeze
from rundlet.runtime.init import Machine
from rundlet.runtime.terminal import set_size
from rundlet.step import step

LINGER_S = 1.0


def _refuse_update(request: Request) -> None:
    raise FailedPrecondition(f"container {request.args['container_id']} has no runtime to change its limits")


class Supervisor:
    """All state of one keeper process; every method runs in its one thread."""

    def __init__(self, run_root: str, listener: socket.socket, anchor: socket.socket, store: Store) -> None:
        directory = keeper_dir(run_root)
        machine = Machine(os.uname().machine, last_capability())
        scratch = Scratch(f"{directory}/journal")
        self._core = Core(directory, Loop(), detect_layout(), scratch, AnchorLink(anchor), {})
        self._pods = Pods(f"{directory}/pods", machine.architecture)
        self._strays = Strays(self._core.loop)
        self._launcher = Launcher(self._core.loop, machine, self._strays.expect)
        self._ending = Ending(self._core)
        self._ending.on_unready = self._strays.expect
        self._creation = Creation(self._core, self._launcher, self._ending)
        self._execs = Execs(self._core, self._launcher)
        self._externals = Externals(self._core, self._launcher, self._ending, self._execs)
        self._minder = Minder(self._core, time.monotonic, self._ending.tell_minder)
        self._ending.on_minder = self._minder.take_look
        self._ending.on_unminded = self._minder.expect_look
        with step("keeper.restore"):
            restore_containers(self._core, self._ending, store)
            self._execs.restore(store)
        self._externals.resume()
        self._minder.resume()
        self._server = Server(self._core.loop, listener, self._verbs())

    def _verbs(self) -> dict[str, Verb]:
        creation, ending, execs, externals = self._creation, self._ending, self._execs, self._externals
        own = (
            "version", "make_pod", "remove_pod", "pod_socket",
            "state", "list", "reopen_log", "attach", "resize",
        )  # fmt: skip
        return {
            "create": creation.serve_create,
            "create_external": externals.serve_create,
            "update": externals.divert(externals.serve_update, _refuse_update),
            "start": externals.divert(externals.serve_start, creation.serve_start),
            "mind": self._minder.serve_mind,
            "unmind": self._minder.serve_unmind,
            "wait": ending.serve_wait,
            "delete": ending.serve_delete,
            "watch": ending.serve_watch,
            "exec": externals.divert(externals.execs.serve_exec, execs.serve_exec),
            "signal": externals.divert(externals.serve_signal, self.serve_signal),
            "wait_exec": execs.serve_wait_exec,
            "signal_exec": execs.serve_signal_exec,
        } | {name: getattr(self, f"serve_{name}") for name in own}

    # -- life -------------------------------------------------------------------

    def run(self) -> None:
        """Serve until there is nothing left to keep, which ends the process, or until the anchor dies."""
        loop, anchor = self._core.loop, self._core.anchor
        loop.add(anchor.fileno(), self._hear_anchor)
        gc.freeze()
        while not anchor.is_lost:
            if loop.turn(LINGER_S):
                continue
            if not (self._core.containers or self._server.clients or self._is_needed()):
                self._leave()
            self._strays.reap_all()
            self._launcher.rest()
            give_back()
            loop.turn(None)  # nothing happens: sleep until something does

    def _is_needed(self) -> bool:
        return self._minder.is_wanted or bool(self._pods.names())

    def _leave(self) -> NoReturn:
        with step("keeper.leave"):
            self._pods.remove_directory()
            remove_volatile(f"{self._core.directory}/containers")
        os._exit(0)

    def _hear_anchor(self) -> None:
        exits = self._core.anchor.receive()
        self._execs.take_exits(exits)
        self._ending.take_exits(exits)

    def release(self) -> Store:
        """Let go of all but what must live on."""
        self._hear_anchor()
        store = {container.id: container.fds() for container in self._core.containers.values()}
        self._minder.release()
        self._server.close()
        self._creation.close()
        self._execs.release(store)
        for container in self._core.containers.values():
            container.log.close()
            container.close_oom()
            container.audience.release()
        for part in (self._pods, self._launcher, self._core.scratch, self._core.anchor, self._core.loop):
            part.close()
        return store

    # -- pods -------------------------------------------------------------------

    def serve_make_pod(self, request: Request) -> None:
        args = request.args
        user = freeze(args["user"]) if args.get("user") else None
        plan = PodPlan(tuple(args["kinds"]), args["hostname"], args["sysctls"], tuple(args["cgroup"]), user)
        try:
            paths, pid, fds = self._pods.make(check_id(args["pod_id"]), plan)
        except BaseException:
            self._strays.expect()
            raise
        request.answer({"paths": paths, "init_pid": pid}, tuple(fds))
        for fd in fds:
            os.close(fd)

    def serve_remove_pod(self, request: Request) -> None:
        pod_id = check_id(request.args["pod_id"])
        init = self._pods.kill_init(pod_id)
        waiting: list[Request] = []
        if init is not None:
            self._core.loop.add(init.pidfd, lambda: self._on_init_exit(init, waiting))
        self._pods.remove(pod_id)
        if init is None:
            request.answer({})
        else:
            waiting.append(request)

    def serve_pod_socket(self, request: Request) -> None:
        with self._pods.open_socket(check_id(request.args["pod_id"]), request.args["family"]) as sock:
            request.answer({}, (sock.fileno(),))

    def _on_init_exit(self, init: Init, waiting: list[Request]) -> None:
        self._core.loop.remove(init.pidfd)
        os.close(init.pidfd)
        reap(init.pid)  # the anchor does, when an earlier supervisor made it
        for request in waiting:
            request.answer({})

    # -- containers that are there ----------------------------------------------

    def serve_version(self, request: Request) -> None:
        versions = {"protocol": PROTOCOL_VERSION, "oldest": OLDEST_VERSION}
        request.answer(versions | {"pid": os.getpid(), "anchor": os.getppid()})

    def serve_signal(self, request: Request) -> None:
        container = self._core.find(request)
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: there is nothing to signal")
        if request.args["all"] and container.group is not None:
            container.signal_everyone(request.args["signum"])
        else:
            container.send_signal(request.args["signum"])
        request.answer({})

    def serve_state(self, request: Request) -> None:
        request.answer({"state": self._core.find(request).state()})

    def serve_list(self, request: Request) -> None:
        containers = self._core.containers
        request.answer({"states": {key: value.state() for key, value in containers.items()}})

    def serve_reopen_log(self, request: Request) -> None:
        container = self._core.find(request)
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: its log is complete")
        container.log.reopen()
        request.answer({})

    def serve_attach(self, request: Request) -> None:
        container = self._core.find(request)
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: there is nothing to attach to")
        has_stdin = bool(request.args["stdin"])
        if request.args.get("lossless"):
            theirs = container.audience.admit_witness(has_stdin=has_stdin)
            self._core.anchor.put(container.id, container.audience.fds())
        else:
            theirs = container.audience.admit(has_stdin=has_stdin)
        with theirs:
            request.answer({"lossless": bool(request.args.get("lossless"))}, (theirs.fileno(),))

    def serve_resize(self, request: Request) -> None:
        container = self._core.find(request)
        if not container.stdin.is_terminal:
            raise FailedPrecondition(f"container {container.id} has no terminal to resize")
        set_size(container.stdin.fd, request.args["height"], request.args["width"])
        request.answer({})


def run_supervisor(run_root: str, listener: _socket.socket, anchor: _socket.socket, store: Store) -> Store:
    """The supervisor's process.  Returns, with what must be held, only when the anchor has died."""
    ours = socket.socket(fileno=anchor.detach())
    supervisor = Supervisor(run_root, socket.socket(fileno=os.dup(listener.fileno())), ours, store)
    supervisor.run()
    return supervisor.release()
