"""The helper of a first process that needs something done with the host's rights.

    keeper             helper                                  first process
    ------             ------                                  -------------
    clone3  ─────────▶ cgroup, OOM score, joined namespaces
                       clone3 with new namespaces  ──────────▶ waits
            ◀───────── {"child": pid} + its pidfd
                       writes uid_map and gid_map
                       opens rootfs and binds as detached
                       mounts, owner of stdio, devices
                       mounts by descriptor, "go"  ──────────▶ becomes root of its user namespace
                       ends                                    the rest of the plan

The first process is the keeper's child from the start (CLONE_PARENT), so exits
and restarts are as for any other.  A user namespace joined by path is entered
by the helper, after everything else, so that the other new namespaces belong to it.
"""

import json
import os
import signal
import socket

from rundlet.kernel import namespace
from rundlet.kernel.clone import Cloned, clone
from rundlet.plan.container import ContainerPlan
from rundlet.plan.steps import MoveNetDevice, map_id
from rundlet.runtime.context import Context
from rundlet.runtime.stdio import Stdio, own_stdio
from rundlet.runtime.trees import User, open_trees
from rundlet.runtime.userns import become_root, raise_limits, read_mappings_of, write_mappings
from rundlet.step import step as named

_FDS_A_PACKET = 200  # SCM_MAX_FD is 253
_GO = b"go"
_MORE = b"more"


def give_birth(plan: ContainerPlan, context: Context, stdio: Stdio, report: socket.socket) -> None:
    """Clone the first process.  Returns in that process only, when all is ready for it."""
    if plan.pid_namespace:
        namespace.join(plan.pid_namespace, namespace.CLONE_NEWPID)
    raise_limits(plan.process.limits)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    flags = sum(namespace.KINDS[kind].flag for kind in plan.clone)
    user = _find_user(plan)
    trees = _prepare(plan, user, stdio) if user else []
    if user:
        namespace.setns(user.fd, namespace.CLONE_NEWUSER)
    elif plan.user:
        flags |= namespace.CLONE_NEWUSER
    child = clone(flags, sibling=True)
    if child.pid == 0:
        ours.close()
        _wait(theirs, context, has_trees=plan.user is not None)
        return
    theirs.close()
    # What fails from here on is reported first; then this process ends, `ours` closes with it, and the
    # first process ends too.  The other way round its end could be heard before the reason.
    _tell(report, child)
    if plan.user and not user:
        trees = _prepare(plan, _make_user(plan, child), stdio)
    _move_devices(plan, child)
    with named("helper.hand-over"):
        _hand_over(ours, trees)
    os._exit(0)


def _tell(report: socket.socket, child: Cloned) -> None:
    """Of the first process; one that cannot be told of in time is told of dead, as its parent has to reap it."""
    message = json.dumps({"child": child.pid}).encode()
    try:
        with named("helper.tell"):
            socket.send_fds(report, [message], [child.pidfd])
    except OSError:
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        socket.send_fds(report, [message], [child.pidfd])
        raise


def _find_user(plan: ContainerPlan) -> User | None:
    """The user namespace to join, if that is planned."""
    if plan.user is None or not plan.user.path:
        return None
    fd = os.open(plan.user.path, os.O_RDONLY | os.O_CLOEXEC)
    if plan.user.uid_map and plan.user.gid_map:
        return User(fd, plan.user.uid_map, plan.user.gid_map)
    return User(fd, *read_mappings_of(fd))


def _make_user(plan: ContainerPlan, child: Cloned) -> User | None:
    """The user namespace that the child was cloned into gets its mappings."""
    if plan.user is None:
        return None
    write_mappings(child.pid, plan.user.uid_map, plan.user.gid_map)
    fd = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    return User(fd, plan.user.uid_map, plan.user.gid_map)


def _prepare(plan: ContainerPlan, user: User | None, stdio: Stdio) -> list[int]:
    """Everything that lies on paths, or belongs to ids, which the container's root has no rights on."""
    if user is None:
        return []
    own_stdio(stdio, map_id(user.uid_map, plan.process.uid))
    return open_trees(plan.setup, user)


def _move_devices(plan: ContainerPlan, child: Cloned) -> None:
    devices = [step for step in plan.entry if isinstance(step, MoveNetDevice)]
    if devices:
        from rundlet.runtime.netdevices import move_devices, target_namespace

        move_devices(devices, target_namespace(plan.entry, child.pid))


def _hand_over(ours: socket.socket, trees: list[int]) -> None:
    """The descriptors in their order, then the word to go on."""
    for first in range(0, len(trees), _FDS_A_PACKET):
        socket.send_fds(ours, [_MORE], trees[first : first + _FDS_A_PACKET])
    ours.send(_GO)


def _wait(theirs: socket.socket, context: Context, *, has_trees: bool) -> None:
    """In the first process: take what the helper hands over; end silently with it, as it has said why."""
    os.setsid()
    trees: list[int] = []
    while True:
        data, fds, _, _ = socket.recv_fds(theirs, 16, _FDS_A_PACKET, socket.MSG_CMSG_CLOEXEC)
        trees += fds
        if data != _MORE:
            break
    if data != _GO:
        os._exit(126)
    theirs.close()
    if has_trees:
        context.trees = trees
        become_root()
