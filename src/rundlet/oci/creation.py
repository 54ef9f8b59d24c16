"""From a bundle to a process that waits at its gate: what `create` and `run` share."""

import os
import signal
import time
from typing import NamedTuple

from rundlet.cgroup.group import Group
from rundlet.errors import Cancelled, InvalidArgument, Unimplemented
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import Bundle, read_bundle
from rundlet.oci.containers import Container, Record
from rundlet.oci.context import Context
from rundlet.oci.launch import Child, Ready, await_ready, count_extra_fds, is_guarded, launch_first
from rundlet.oci.pidfile import write_pid_file
from rundlet.oci.planning import load_filter, plan_group, read_host
from rundlet.oci.undo import Undo
from rundlet.plan.container import Hooks
from rundlet.plan.planner import plan_container
from rundlet.plan.steps import JoinCgroup
from rundlet.runtime.init import Inheritance
from rundlet.runtime.stdio import Stdio
from rundlet.spec.runtime import Resources, RuntimeConfig


class Created(NamedTuple):
    """`master` is the terminal's, still ours, or -1."""

    container: Container
    child: Child
    master: int


def create_container(context: Context, container_id: str, arguments: Arguments) -> Created:
    """The container, created; or an error, and nothing of it left."""
    bundle = read_bundle(arguments.text("bundle"), arguments.text("config"))
    _check(bundle.config, arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _cancel)
    with Undo() as undo:
        return _create(context, container_id, arguments, bundle, undo)


def _cancel(number: int, _: object) -> None:
    raise Cancelled(f"stopped by signal {number}")


def _check(config: RuntimeConfig, arguments: Arguments) -> None:
    if arguments.has("no-pivot"):
        raise Unimplemented(
            "flag --no-pivot: rundlet-runtime always uses pivot_root(2), which a chroot cannot replace safely",
            hint="put the rootfs on a file system of its own instead of the initial ramdisk",
        )
    terminal = config.process is not None and config.process.terminal
    if terminal or arguments.text("console-socket"):
        from rundlet.oci.console import check_console

        check_console(terminal, arguments)


def _create(context: Context, container_id: str, arguments: Arguments, bundle: Bundle, undo: Undo) -> Created:
    listen_fds = _read_listen_fds()
    extra_fds = count_extra_fds(arguments.number("preserve-fds"), listen_fds)
    systemd = context.systemd_cgroup
    path = groups.choose_path(container_id, bundle.linux.cgroups_path, systemd=systemd)
    group = groups.open_group(path, systemd=systemd)
    record = make_record(container_id, bundle)._replace(
        cgroup=path if systemd else group.path, systemd_cgroup=systemd
    )
    container, lock = containers.reserve(context.root, record, bundle.raw)
    undo.callback(containers.forget, container.directory)
    config = _hand_over_sockets(bundle.config, listen_fds, container.directory)
    if config.process is not None and config.process.terminal:
        from rundlet.oci.console import fit_terminal

        config = config.replace(process=fit_terminal(config.process))
    plan = plan_container(
        container_id,
        config,
        read_host(group),
        bundle=bundle.path,
        cgroup=plan_group(group, bundle.linux.resources or Resources(), systemd=systemd),
        seccomp=load_filter(context, config),
    )
    make_group(group, plan.cgroup.writes, undo)
    gate, answer = (
        _make_fifo(f"{container.directory}/{name}") for name in (containers.GATE, containers.ANSWER)
    )
    inheritance = Inheritance(extra_fds, arguments.has("no-new-keyring"), answer, is_guarded=is_guarded())
    child = launch_first(plan, JoinCgroup(group.join_files()), Stdio(0, 1, 2), gate, inheritance)
    undo.callback(_kill, child)
    os.close(answer)
    child, master = _await_ready(child, plan.hooks, undo)
    group.settle()
    child.report.close()  # from here on errors are for who opens the gate
    os.close(gate)
    if arguments.text("console-socket"):
        from rundlet.oci.console import send_master

        send_master(arguments.text("console-socket"), master)
        os.close(master)
        master = -1
    if arguments.text("pidfd-socket"):
        from rundlet.oci.console import send_descriptor

        send_descriptor(arguments.text("pidfd-socket"), child.pidfd, b"pidfd", "pidfd socket")
    started = containers.read_start_time(child.pid)
    container = container.save(record._replace(pid=child.pid, start_time=started))
    write_pid_file(arguments.text("pid-file"), child.pid)
    os.close(lock)
    return Created(container, child, master)


def make_record(container_id: str, bundle: Bundle) -> Record:
    return Record(
        id=container_id,
        bundle=bundle.path,
        rootfs=bundle.rootfs,
        oci_version=bundle.config.oci_version,
        annotations=bundle.config.annotations or {},
        created_at_ns=time.time_ns(),
        owner_uid=os.getuid(),
        has_pid_namespace=any(item.type == "pid" and not item.path for item in bundle.linux.namespaces or []),
    )


def make_group(group: Group, writes: tuple[tuple[str, str, str], ...], undo: Undo) -> None:
    """A group that was there before is not ours to remove."""
    existed = group.exists()
    group.make()
    if not existed:
        undo.callback(group.remove)
    group.apply(writes)


def _make_fifo(path: str) -> int:
    """Open both ways: neither side ever waits for the other to open it."""
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _await_ready(child: Child, hooks: Hooks | None, undo: Undo) -> Ready:
    """With a helper the process that counts is another one, to be killed as well when something fails."""
    ready = await_ready(child, hooks)
    if ready.child.pid != child.pid:
        undo.callback(_kill, ready.child)
    return ready


def _kill(child: Child) -> None:
    try:
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        os.waitpid(child.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended by itself


def _read_listen_fds() -> int:
    """sd_listen_fds(3): how many sockets our caller hands on to the container."""
    text = os.environ.get("LISTEN_FDS", "")
    if not text:
        return 0
    if not text.isdigit():
        raise InvalidArgument(f"environment: LISTEN_FDS: expected a number, got {text!r}")
    return int(text)


def _hand_over_sockets(config: RuntimeConfig, listen_fds: int, directory: str) -> RuntimeConfig:
    """With the environment that tells the program of sockets passed on, and of one to say that it is ready."""
    if listen_fds and config.process is not None:
        env = [*(config.process.env or []), f"LISTEN_FDS={listen_fds}", "LISTEN_PID=1"]
        config = config.replace(process=config.process.replace(env=env))
    if os.environ.get("NOTIFY_SOCKET"):
        from rundlet.oci import notify

        config = notify.hand_over(config, directory)
    return config
