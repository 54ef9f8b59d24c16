"""The engine's way to the keeper; starts one when none is there.

Thread-safe: calls in parallel use connections of their own, kept for the next call.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rundlet.errors import DeadlineExceeded, Error, Unavailable
from rundlet.keeper.connection import Connection, ConnectionLost, connect
from rundlet.keeper.handles import Attachment, ExecHandle, Lease, Watch
from rundlet.keeper.place import keeper_dir
from rundlet.keeper.protocol import (
    OLDER_HINT,
    UNLIMITED,
    ContainerState,
    ExitRecord,
    LogLimit,
    Packet,
    PodNamespaces,
    Started,
    to_exit,
    to_state,
)
from rundlet.plan.container import ContainerPlan, encode_plan
from rundlet.plan.external import ExternalPlan, encode_external
from rundlet.plan.process import ProcessPlan, encode_process
from rundlet.plan.steps import IdMap
from rundlet.step import step
from rundlet.trace.span import graft, waits

_IDLE_CONNECTIONS_MAX = 8
_ATTEMPTS = 4


class Keeper:
    """The keeper of one run root."""

    def __init__(self, run_root: str) -> None:
        self.run_root = os.path.abspath(run_root)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    # -- connections ------------------------------------------------------------

    def call(
        self, verb: str, args: dict[str, Any], fds: tuple[int, ...] = (), timeout_s: float | None = None
    ) -> Packet:
        """One request and its answer; an answer that does not come in time is DeadlineExceeded."""
        connection = self._take()
        try:
            with step(f"keeper.{verb}"):
                waits("keeper", keeper_dir(self.run_root), timeout_s=timeout_s)
                connection.send(verb, args, fds)
                packet = connection.receive(timeout_s)
                graft(packet.message.get("steps", ()))
        except (Unavailable, DeadlineExceeded):
            connection.close()
            raise
        except Error:
            self._give_back(connection)
            raise
        except BaseException:
            connection.close()  # an answer may still come
            raise
        self._give_back(connection)
        return packet

    def _ask(self, verb: str, args: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """A request that may be made twice: a supervisor that is replaced meanwhile is not noticed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for _ in range(_ATTEMPTS):
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                return self.call(verb, args, timeout_s=left_s).message
            except ConnectionLost as error:
                failure = error
        raise failure

    def _take(self) -> Connection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_stale():
                    return connection
                connection.close()
        return connect(self.run_root)

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let go of idle connections: a keeper with nothing to keep leaves when nobody is connected."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    # -- pods -------------------------------------------------------------------

    def make_pod(
        self,
        pod_id: str,
        kinds: Sequence[str],
        *,
        hostname: str = "",
        sysctls: Mapping[str, str] = {},
        cgroup_join: Sequence[str] = (),
        user: tuple[IdMap, IdMap] | None = None,
    ) -> PodNamespaces:
        """New namespaces of `kinds` ("net", "ipc", "uts", "pid"), pinned; a pod's init joins `cgroup_join`.

        With `user` (uid map, gid map) they belong to a user namespace, pinned as "user".
        """
        packet = self.call(
            "make_pod",
            {
                "pod_id": pod_id,
                "kinds": list(kinds),
                "hostname": hostname,
                "sysctls": dict(sysctls),
                "cgroup": list(cgroup_join),
                "user": user,
            },
        )
        netns_fd, route_fd = packet.fds or (-1, -1)
        return PodNamespaces(packet.message["paths"], netns_fd, route_fd, packet.message["init_pid"])

    def remove_pod(self, pod_id: str) -> None:
        """Let go of its namespaces; nothing happens when it is unknown."""
        self._ask("remove_pod", {"pod_id": pod_id})

    def pod_socket(self, pod_id: str, family: int) -> socket.socket:
        """A new TCP socket of `family` (AF_INET or AF_INET6) that lives in the pod's network namespace.

        NotFound when the pod has none.
        """
        packet = self.call("pod_socket", {"pod_id": pod_id, "family": int(family)})
        return socket.socket(fileno=packet.fds[0])

    # -- containers -------------------------------------------------------------

    def create(
        self,
        plan: ContainerPlan,
        *,
        log_path: str = "",
        log_limit: LogLimit = UNLIMITED,
        stdin: bool = False,
        stdin_once: bool = False,
    ) -> int:
        """Make the container up to its gate; the pid of its first process.

        `stdin` gives it one that stays open; with `stdin_once` it ends with the first attach that had it.
        """
        return int(self._create(plan, log_path, log_limit, stdin, stdin_once)["pid"])

    def run(
        self,
        plan: ContainerPlan,
        *,
        log_path: str = "",
        log_limit: LogLimit = UNLIMITED,
        stdin: bool = False,
        stdin_once: bool = False,
    ) -> Started:
        """`create` and `start` in one; when only the start fails, the container is there, and stopped."""
        answer = self._create(plan, log_path, log_limit, stdin, stdin_once, start=True)
        return Started(answer["pid"], answer["started_at_ns"])

    def _create(
        self,
        plan: ContainerPlan,
        log_path: str,
        log_limit: LogLimit,
        stdin: bool,
        stdin_once: bool,
        start: bool = False,
    ) -> dict[str, Any]:
        args = {
            "plan": encode_plan(plan),
            "log_path": log_path,
            "log_limit": log_limit,
            "stdin": stdin,
            "stdin_once": stdin_once,
            "start": start,
        }
        return self.call("create", args).message

    def create_external(
        self,
        plan: ExternalPlan,
        *,
        log_path: str = "",
        log_limit: LogLimit = UNLIMITED,
        stdin: bool = False,
        stdin_once: bool = False,
    ) -> int:
        """As `create`, by another program; DeadlineExceeded when it did not make it in the plan's time."""
        args = {
            "plan": encode_external(plan),
            "log_path": log_path,
            "log_limit": log_limit,
            "stdin": stdin,
            "stdin_once": stdin_once,
        }
        return int(self.call("create_external", args).message["pid"])

    def start(self, container_id: str) -> int:
        """Let it run its program; when that was, in nanoseconds since the epoch.

        A supervisor that is replaced meanwhile is not noticed: its successor knows how far it came.
        """
        args = {"container_id": container_id}
        for _ in range(_ATTEMPTS):
            try:
                return int(self.call("start", args).message["started_at_ns"])
            except ConnectionLost as error:
                failure = error
            state = self.state(container_id)
            if state.status != "created":
                return state.started_at_ns
        raise failure

    def update(self, container_id: str, resources: dict[str, Any]) -> None:
        """Have the runtime of an external container set other limits, in the JSON of config.json."""
        self.call("update", {"container_id": container_id, "resources": resources})

    def signal(self, container_id: str, signum: int, *, everyone: bool = False) -> None:
        """To the first process, or to every process of the container."""
        self.call("signal", {"container_id": container_id, "signum": signum, "all": everyone})

    def wait(self, container_id: str, timeout_s: float | None = None) -> ExitRecord | None:
        """How it ended; None when it has not within `timeout_s`."""
        try:
            return to_exit(self._ask("wait", {"container_id": container_id}, timeout_s)["exit"])
        except DeadlineExceeded:
            return None

    def delete(self, container_id: str) -> None:
        """Kill what is left of it, remove its cgroup and files; nothing happens when it is unknown."""
        self._ask("delete", {"container_id": container_id})

    def state(self, container_id: str) -> ContainerState:
        """NotFound when the keeper does not know it."""
        return to_state(self._ask("state", {"container_id": container_id})["state"])

    def list(self) -> dict[str, ContainerState]:
        """Every container by id."""
        states = self._ask("list", {})["states"]
        return {container_id: to_state(fields) for container_id, fields in states.items()}

    def reopen_log(self, container_id: str) -> None:
        """After the log file was moved away."""
        self.call("reopen_log", {"container_id": container_id})

    def attach(self, container_id: str, *, stdin: bool = True, lossless: bool = False) -> Attachment:
        """Its output from now on, and a way into its stdin; FailedPrecondition when it has stopped.

        `lossless`: while this end does not read, the container's output waits; and it hears how it ended.
        """
        args = {"container_id": container_id, "stdin": stdin, "lossless": lossless}
        packet = self.call("attach", args)
        attachment = Attachment(socket.socket(fileno=packet.fds[0]), lossless=lossless)
        if lossless and not packet.message.get("lossless"):
            attachment.close()
            raise Unavailable("keeper: it cannot keep output for a slow reader", hint=OLDER_HINT)
        return attachment

    def resize(self, container_id: str, height: int, width: int) -> None:
        """Rows and columns of its terminal; FailedPrecondition when it has none."""
        self.call("resize", {"container_id": container_id, "height": height, "width": width})

    def exec(
        self,
        container_id: str,
        process: ProcessPlan | dict[str, Any],
        *,
        stdin_fd: int = -1,
        stdout_fd: int = -1,
        stderr_fd: int = -1,
    ) -> ExecHandle:
        """Run a further process with these descriptors (-1: /dev/null), which stay the caller's to close.

        The runtime of an external container takes `process` in the JSON of config.json.
        """
        given = {"stdin": stdin_fd, "stdout": stdout_fd, "stderr": stderr_fd}
        args: dict[str, Any] = {name: fd >= 0 for name, fd in given.items()}
        args["container_id"] = container_id
        if isinstance(process, dict):
            args["config"] = process
        else:
            args["process"] = encode_process(process)
        connection = self._take()
        waits("keeper", keeper_dir(self.run_root))
        try:
            connection.send("exec", args, tuple(fd for fd in given.values() if fd >= 0))
            answer, fds, _ = connection.receive()
        except BaseException:
            connection.close()
            raise
        exec_id = answer["exec_id"]
        return ExecHandle(
            connection,
            exec_id,
            answer["pid"],
            fds[0] if fds else -1,
            recall=lambda timeout_s: self.wait_exec(container_id, exec_id, timeout_s),
            deliver=lambda signum: self.call("signal_exec", {"exec_id": exec_id, "signum": signum}),
        )

    def wait_exec(self, container_id: str, exec_id: str, timeout_s: float | None = None) -> ExitRecord | None:
        """How an exec ended whose handle is closed or cut off; None when it has not within `timeout_s`.

        Kept until it is asked for the first time here or there, for the newest ends of a
        container; NotFound else.
        """
        args = {"container_id": container_id, "exec_id": exec_id}
        try:
            return to_exit(self._ask("wait_exec", args, timeout_s)["exit"])
        except DeadlineExceeded:
            return None

    def mind(self, argv: Sequence[str], env: Mapping[str, str], *, look: bool) -> int:
        """Have the minder running from now on until it exits with 0; its pid, 0 when it is to start in a moment.

        `look`: it has something to do at once.
        """
        return int(self._ask("mind", {"argv": list(argv), "env": dict(env), "look": look})["pid"])

    def expect(self, argv: Sequence[str], env: Mapping[str, str]) -> Lease:
        """Have the minder running when this process ends, or closes the lease, without having released it."""
        connection = connect(self.run_root)
        try:
            connection.send("mind", {"argv": list(argv), "env": dict(env), "later": True})
            connection.receive()
        except BaseException:
            connection.close()
            raise
        return Lease(connection)

    def watch(self) -> Watch:
        """Every container's end from now on, and every kill for want of memory."""
        connection = connect(self.run_root)
        try:
            connection.send("watch", {"oom": True})
            connection.receive()
        except BaseException:
            connection.close()
            raise
        return Watch(connection)
