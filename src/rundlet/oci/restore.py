"""`restore`: an id, a cgroup and a record around the processes that criu brings back."""

import os

from rundlet.cgroup.group import Group
from rundlet.errors import NotFound
from rundlet.kernel import mount as m
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import Bundle, read_bundle
from rundlet.oci.console import check_console, send_master
from rundlet.oci.containers import Container
from rundlet.oci.context import Context
from rundlet.oci.creation import make_group, make_record
from rundlet.oci.criu import Images, Job, find_criu, make_images, plan_again, plan_restore
from rundlet.oci.criu_worker import run_job
from rundlet.oci.destruction import destroy_ended, kill_first
from rundlet.oci.launch import run_early_hooks
from rundlet.oci.pidfile import write_pid_file
from rundlet.oci.planning import plan_group
from rundlet.oci.undo import Undo
from rundlet.plan.container import ContainerPlan, Hooks
from rundlet.plan.steps import Bind, Mount
from rundlet.runtime.paths import open_mountpoint
from rundlet.spec.runtime import Resources


class Restored:
    """What criu tells on the way: the first process's terminal, for us or for a listener."""

    def __init__(self, hooks: Hooks | None, console_socket: str) -> None:
        self._hooks, self._console_socket = hooks, console_socket
        self.master = -1

    def hear(self, script: str, pid: int, fd: int) -> None:
        """A notification; the hooks of a start run when the namespaces are there."""
        if script == "setup-namespaces" and self._hooks is not None:
            run_early_hooks(self._hooks, pid)
        elif script == "orphan-pts-master" and self._console_socket:
            send_master(self._console_socket, fd)
        elif script == "orphan-pts-master":
            self.master = os.dup(fd)


def restore(context: Context, arguments: Arguments) -> int:
    """Returns when the processes run, or without --detach when the first one has ended."""
    criu = find_criu(context)
    bundle = read_bundle(arguments.text("bundle"))
    check_console(bundle.config.process is not None and bundle.config.process.terminal, arguments)
    images = _find_images(arguments)
    detach = arguments.has("detach")
    if not detach and not arguments.has("no-subreaper"):
        from rundlet.oci.foreground import become_subreaper

        become_subreaper()
    with Undo() as undo:
        container, restored = _restore(context, arguments, bundle, images, criu, undo)
    if detach:
        return 0
    return _wait(context, container, restored.master)


def _find_images(arguments: Arguments) -> Images:
    path = os.path.abspath(arguments.text("image-path", "checkpoint"))
    if not os.path.exists(f"{path}/inventory.img"):
        raise NotFound(f"{path}: no checkpoint is there (inventory.img is missing)")
    return make_images(arguments)


def _wait(context: Context, container: Container, master: int) -> int:
    from rundlet.oci.foreground import forward_signals, wait_for

    pid = container.record.pid
    pidfd = os.pidfd_open(pid)
    forward_signals(pidfd)
    code = wait_for(pid, pidfd, master)
    destroy_ended(context, container)
    return code


def _restore(
    context: Context, arguments: Arguments, bundle: Bundle, images: Images, criu: str, undo: Undo
) -> tuple[Container, Restored]:
    container_id, systemd = arguments.words[0], context.systemd_cgroup
    path = groups.choose_path(container_id, bundle.linux.cgroups_path, systemd=systemd)
    group = groups.open_group(path, systemd=systemd)
    plan = plan_again(container_id, bundle.config, bundle.path, group)
    record = make_record(container_id, bundle)._replace(
        cgroup=path if systemd else group.path, systemd_cgroup=systemd
    )
    container, lock = containers.reserve(context.root, record, bundle.raw)
    undo.callback(containers.forget, container.directory)
    writes = plan_group(group, bundle.linux.resources or Resources(), systemd=systemd).writes
    make_group(group, writes, undo)
    restored = Restored(plan.hooks, arguments.text("console-socket"))
    job = plan_restore(plan, bundle.config, arguments, images, groups.describe_roots(group))
    pid = _run_criu(criu, job, container, bundle.rootfs, plan, group, restored)
    container = container.save(record._replace(pid=pid, start_time=containers.read_start_time(pid)))
    undo.callback(kill_first, container, group)
    group.settle()
    write_pid_file(arguments.text("pid-file"), pid)
    os.close(lock)
    return container, restored


def _run_criu(
    criu: str,
    job: Job,
    container: Container,
    rootfs: str,
    plan: ContainerPlan,
    group: Group,
    restored: Restored,
) -> int:
    """The first process's pid.  criu wants a root that is a mount of its own."""
    _make_mountpoints(plan, rootfs)
    root = f"{container.directory}/criu-root"
    os.mkdir(root, 0o700)
    m.mount(rootfs, root, None, m.MS_BIND | m.MS_REC)
    try:
        job = job._replace(options={**job.options, "root": root})
        return run_job(criu, job, join_files=group.join_files(), listener=restored.hear)
    finally:
        m.umount(root, m.MNT_DETACH)
        os.rmdir(root)


def _make_mountpoints(plan: ContainerPlan, rootfs: str) -> None:
    """Those that a fresh rootfs lacks, but for what lies on a mount: criu brings that back itself."""
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    above: list[str] = []
    for step in plan.setup:
        if isinstance(step, Mount | Bind) and not step.target.startswith(tuple(above)):
            directory = not isinstance(step, Bind) or os.path.isdir(step.source)
            os.close(open_mountpoint(root_fd, step.target, directory=directory))
            above.append(step.target.rstrip("/") + "/")
    os.close(root_fd)
