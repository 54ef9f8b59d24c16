"""bubblewrap made to wait at a gate, as the other containers do.

    supervisor ── fork ──▶ driver: cgroup, OOM score, namespaces to join
                             └── fork, exec ──▶ bwrap (monitor) ── clone ──▶ the container, at --block-fd
                           ◀── --info-fd: the container's pid
                           kills the monitor, writes the pid file, ends with 0

bwrap's monitor only waits for its child and repeats its exit code.  Without it the child falls
to the anchor, which reaps it itself and sees signals as signals; and a megabyte is saved.

bwrap does not tell when it has come to the gate, so the driver looks: read(2) of the gate's
descriptor is the call that the container sleeps in (/proc/PID/syscall, proc(5)).
"""

import json
import os
import select
import signal
import time
from typing import NoReturn

from rundlet.errors import FailedPrecondition
from rundlet.keeper.container import Container
from rundlet.keeper.external_job import Job
from rundlet.kernel import mount, namespace, prctl
from rundlet.plan.external import BwrapPlan
from rundlet.plan.steps import JoinCgroup, SetOomScore
from rundlet.runtime import process
from rundlet.runtime.context import Context
from rundlet.runtime.execute import execute
from rundlet.runtime.init import Stdio

_GATE_TIMEOUT_S = 20.0
_NAP_S = 0.001
_SYS_READ = {"x86_64": 0, "aarch64": 63}.get(os.uname().machine, 0)


def drive(container: Container, plan: BwrapPlan, stdio: Stdio, log: str) -> Job:
    """Start the driver; when the job has ended well the container waits at its gate and the pid file is there."""
    os.mkfifo(f"{container.directory}/start", 0o600)
    gate = os.open(f"{container.directory}/start", os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _live(container, plan, stdio, gate, log)
    finally:
        os.close(gate)
    return Job("bwrap", pid, log)


def _live(container: Container, plan: BwrapPlan, stdio: Stdio, gate: int, log: str) -> NoReturn:
    code = 1
    try:
        prctl.close_all_but({0, 1, 2, *stdio, gate})
        process.reset_signals()
        os.umask(0)
        os.setsid()
        pid = _make(container, plan, stdio, gate)
        if pid:
            with open(f"{container.directory}/pid", "w", encoding="ascii") as file:
                file.write(str(pid))
            code = 0
    except BaseException as error:
        _complain(log, str(error) or type(error).__name__)
    finally:
        os._exit(code)


def _complain(log: str, message: str) -> None:
    with open(log, "w", encoding="utf-8") as file:
        json.dump({"level": "error", "msg": message}, file)


def _make(container: Container, plan: BwrapPlan, stdio: Stdio, gate: int) -> int:
    """The pid of the container at its gate; 0 when bwrap gave up, having said why on its stderr."""
    context = Context()
    if container.group is not None:
        execute(JoinCgroup(container.group.join_files()), context)
    if plan.oom_score_adj is not None:
        execute(SetOomScore(plan.oom_score_adj), context)
    os.setgroups(plan.groups)
    for kind, path in plan.join:
        namespace.join(path, namespace.KINDS[kind].flag)
    # bwrap makes all mounts slaves of the host's; of private ones there is nothing to follow.
    namespace.unshare(namespace.CLONE_NEWNS)
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    info_read, info_write = os.pipe()
    monitor = os.fork()
    if monitor == 0:
        _become_bwrap(plan, stdio, gate, info_write)
    os.close(info_write)
    return _await_gate(monitor, info_read, gate)


def _become_bwrap(plan: BwrapPlan, stdio: Stdio, gate: int, info: int) -> NoReturn:
    try:
        options = [*plan.options, "--block-fd", str(gate), "--info-fd", str(info)]
        kept = [gate, info]
        if plan.pid_namespace:
            kept.append(os.open(plan.pid_namespace, os.O_RDONLY))
            options += ["--pidns", str(kept[-1])]
        if plan.seccomp:
            kept.append(_memory_file(bytes.fromhex(plan.seccomp)))
            options += ["--seccomp", str(kept[-1])]
        arguments = _memory_file(b"".join(os.fsencode(option) + b"\0" for option in options))
        for fd in (*kept, arguments):
            os.set_inheritable(fd, True)
        for number, fd in enumerate(stdio):
            os.dup2(fd, number, inheritable=True)
        os.execve(plan.program, ["bwrap", "--args", str(arguments), "--", *plan.command], {})
    except BaseException as error:
        os.write(2, f"bwrap: cannot be started: {error}".encode())
    finally:
        os._exit(127)


def _memory_file(data: bytes) -> int:
    """A descriptor to read `data` from."""
    fd = os.memfd_create("rundlet-bwrap")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _await_gate(monitor: int, info: int, gate: int) -> int:
    deadline = time.monotonic() + _GATE_TIMEOUT_S
    pid = _read_child_pid(info, deadline)
    while not (pid and _is_at_gate(pid, gate)):
        if os.waitpid(monitor, os.WNOHANG) != (0, 0):
            return 0
        if time.monotonic() > deadline:
            _kill(monitor, pid)
            raise FailedPrecondition(f"it did not come to its gate within {_GATE_TIMEOUT_S:g} s")
        time.sleep(_NAP_S)
    _kill(monitor)
    os.waitpid(monitor, 0)
    return pid


def _read_child_pid(info: int, deadline: float) -> int:
    """What bwrap says on --info-fd before it closes that; 0 when it says nothing in time."""
    said = b""
    while select.select([info], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(info, 4096)
        if not chunk:
            break
        said += chunk
    try:
        return int(json.loads(said)["child-pid"])
    except (ValueError, KeyError):
        return 0


def _is_at_gate(pid: int, gate: int) -> bool:
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            fields = file.read().split()
    except OSError:
        return False
    return fields[:2] == [str(_SYS_READ), hex(gate)]


def _kill(*pids: int) -> None:
    for pid in filter(None, pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
