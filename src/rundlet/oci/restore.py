"""`restore`: an id, a cgroup and a record around the processes that criu brings back."""

import os
import subprocess
import time

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.kernel.prctl import set_child_subreaper
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import Bundle, read_bundle
from rundlet.oci.console import check_console
from rundlet.oci.containers import Container, Record
from rundlet.oci.context import Context
from rundlet.oci.criu import find_criu, last_error, make_images, restore_command
from rundlet.oci.destruction import destroy
from rundlet.oci.launch import exit_code
from rundlet.oci.pidfile import write_pid_file
from rundlet.oci.planning import plan_group
from rundlet.oci.undo import Undo
from rundlet.spec.runtime import Resources


def restore(context: Context, arguments: Arguments) -> int:
    criu = find_criu(context)
    bundle = read_bundle(arguments.text("bundle"))
    check_console(False, arguments)
    images = make_images(arguments)
    if not os.path.exists(f"{images.path}/inventory.img"):
        raise NotFound(f"{images.path}: no checkpoint is there (inventory.img is missing)")
    return _restore_container(
        context, arguments, bundle, restore_command(criu, bundle.config, bundle.rootfs, arguments, images)
    )


def _restore_container(context: Context, arguments: Arguments, bundle: Bundle, command: list[str]) -> int:
    """Returns when the processes run, or without --detach when the first one has ended."""
    set_child_subreaper()  # criu leaves its process to its parent's reaper: this one
    with Undo() as undo:
        container = _restore(context, arguments, bundle, command, undo)
    if arguments.has("detach"):
        return 0
    code = exit_code(os.waitpid(container.record.pid, 0)[1])
    destroy(context, container)
    return code


def _restore(
    context: Context, arguments: Arguments, bundle: Bundle, command: list[str], undo: Undo
) -> Container:
    container_id = arguments.words[0]
    path = groups.choose_path(container_id, bundle.linux.cgroups_path, systemd=False)
    group = groups.open_group(path, systemd=False)
    record = Record(
        id=container_id,
        bundle=bundle.path,
        rootfs=bundle.rootfs,
        oci_version=bundle.config.oci_version,
        annotations=bundle.config.annotations or {},
        created_at_ns=time.time_ns(),
        owner_uid=os.getuid(),
        cgroup=group.path,
    )
    container, lock = containers.reserve(context.root, record, bundle.raw)
    undo.callback(containers.forget, container.directory)
    group.make()
    undo.callback(group.remove)
    group.apply(plan_group(group, bundle.linux.resources or Resources(), systemd=False).writes)
    pid = _run_criu(command)
    container = container.save(record._replace(pid=pid, start_time=containers.read_start_time(pid)))
    write_pid_file(arguments.text("pid-file"), pid)
    os.close(lock)
    return container


def _run_criu(command: list[str]) -> int:
    """The pid of the first process."""
    pid_file = command[command.index("--pidfile") + 1]
    work = os.path.dirname(pid_file)
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise FailedPrecondition(
            f"criu restore: {last_error(f'{work}/restore.log', '')}", hint=f"see {work}/restore.log"
        )
    with open(pid_file, encoding="ascii") as file:
        return int(file.read())
