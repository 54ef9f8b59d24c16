"""`exec`: a further process in a container that is created, running or, when asked for, paused."""

import os
import signal

from rundlet.cgroup.group import Group
from rundlet.errors import Error, FailedPrecondition, InvalidArgument
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import read_config, read_model
from rundlet.oci.containers import Container
from rundlet.oci.context import Context
from rundlet.oci.launch import Child, await_exec, count_extra_fds, is_guarded, launch_exec
from rundlet.oci.pidfile import write_pid_file
from rundlet.oci.planning import load_filter, read_host
from rundlet.oci.state import full_status
from rundlet.plan.identity import plan_process
from rundlet.plan.lifecycle import plan_state
from rundlet.plan.steps import JoinCgroup
from rundlet.runtime.init import Inheritance
from rundlet.runtime.stdio import Stdio
from rundlet.spec.runtime import Capabilities, Process, RuntimeConfig, User


def exec(context: Context, arguments: Arguments) -> int:
    container_id, *argv = arguments.words
    container = containers.load(context.root, container_id)
    _check_status(container, ignore_paused=arguments.has("ignore-paused"))
    config = read_config(container.read_config())
    process = choose_process(config, arguments, argv)
    if process.terminal:
        from rundlet.oci.console import fit_terminal

        process = fit_terminal(process)
    if process.terminal and arguments.has("detach") and not arguments.text("console-socket"):
        raise InvalidArgument("cannot allocate a terminal for a detached process without --console-socket")
    child = _launch(context, container, config, process, arguments)
    try:
        master = await_exec(child)
    except Error:
        os.waitpid(child.pid, 0)
        raise
    if arguments.text("console-socket"):
        from rundlet.oci.console import send_master

        send_master(arguments.text("console-socket"), master)
        master = -1
    if arguments.text("pidfd-socket"):
        from rundlet.oci.console import send_descriptor

        send_descriptor(arguments.text("pidfd-socket"), child.pidfd, b"pidfd", "pidfd socket")
    _write_pid_file(arguments, child)
    if arguments.has("detach"):
        return 0
    from rundlet.oci.foreground import forward_signals, wait_for

    forward_signals(child.pidfd)
    return wait_for(child.pid, child.pidfd, master)


def _check_status(container: Container, *, ignore_paused: bool) -> None:
    status = full_status(container)
    if status in ("created", "running") or (status == "paused" and ignore_paused):
        return
    hint = "--ignore-paused lets it wait until the container is resumed" if status == "paused" else ""
    raise FailedPrecondition(f"cannot exec in a {status} container", hint=hint)


def _launch(
    context: Context, container: Container, config: RuntimeConfig, process: Process, arguments: Arguments
) -> Child:
    group = groups.group_of(container.record)
    state = plan_state(container.record.id, config, container.record.bundle)
    plan = plan_process(
        process, read_host(group), load_filter(context, config), linux=config.linux, state=state
    )
    extra_fds = count_extra_fds(arguments.number("preserve-fds"), 0)
    join = JoinCgroup(_join_files(group, arguments.many("cgroup")))
    pidfd = containers.open_process(container)
    return launch_exec(plan, join, Stdio(0, 1, 2), pidfd, Inheritance(extra_fds, is_guarded=is_guarded()))


def _write_pid_file(arguments: Arguments, child: Child) -> None:
    try:
        write_pid_file(arguments.text("pid-file"), child.pid)
    except OSError:
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        raise


def _join_files(group: Group | None, wanted: list[str]) -> tuple[str, ...]:
    """Where the process attaches itself; `wanted` are groups below the container's, "[controller:]path"."""
    if group is None:
        return ()
    if not wanted:
        return group.join_files()
    directories = group.directories()
    file = "tasks" if group.layout.version == 1 else "cgroup.procs"
    for item in wanted:
        controllers, colon, path = item.rpartition(":")
        below = os.path.normpath(f"/{path}").lstrip("/")
        for controller in controllers.split(",") if colon else group.directories():
            if controller not in directories:
                raise InvalidArgument(f"flag --cgroup: unknown controller {controller!r}")
            directories[controller] = os.path.join(group.directory(controller), below)
    return tuple(f"{directory}/{file}" for directory in dict.fromkeys(directories.values()))


def choose_process(config: RuntimeConfig, arguments: Arguments, argv: list[str]) -> Process:
    """From --process, or the container's own process changed by the flags."""
    path = arguments.text("process")
    if path:
        with open(path, "rb") as file:
            process = read_model(file.read(), Process, path)
        return process.replace(terminal=process.terminal or arguments.has("tty"))
    if not argv:
        raise InvalidArgument("exec: expected a command after the container's id")
    if config.process is None:
        raise FailedPrecondition("the container has no process to take after", hint="use --process FILE")
    return _change(config.process, arguments, argv)


def _change(base: Process, arguments: Arguments, argv: list[str]) -> Process:
    given = arguments.get("no-new-privs")
    return base.replace(
        args=argv,
        terminal=arguments.has("tty"),
        console_size=None,
        cwd=arguments.text("cwd") or base.cwd,
        env=[*(base.env or []), *arguments.many("env")],
        user=_choose_user(base.user, arguments),
        apparmor_profile=arguments.text("apparmor") or base.apparmor_profile,
        selinux_label=arguments.text("process-label") or base.selinux_label,
        no_new_privileges=base.no_new_privileges if given is None else bool(given),
        capabilities=_add_capabilities(base.capabilities, arguments.many("cap")),
    )


def _choose_user(base: User, arguments: Arguments) -> User:
    user = base
    text = arguments.text("user")
    if text:
        uid, colon, gid = text.partition(":")
        user = user.replace(uid=_read_id(uid), gid=_read_id(gid) if colon else user.gid)
    more = [_read_id(gid) for item in arguments.many("additional-gids") for gid in item.split(",")]
    return user.replace(additional_gids=[*(user.additional_gids or []), *more]) if more else user


def _read_id(text: str) -> int:
    if not text.isdigit():
        raise InvalidArgument(f"flag --user: expected UID[:GID] in numbers, got {text!r}")
    return int(text)


def _add_capabilities(base: Capabilities | None, names: list[str]) -> Capabilities | None:
    """To every set but the ambient and inheritable ones, which only the configuration widens."""
    if not names:
        return base
    known = base or Capabilities()
    return known.replace(
        bounding=[*(known.bounding or []), *names],
        effective=[*(known.effective or []), *names],
        permitted=[*(known.permitted or []), *names],
    )
