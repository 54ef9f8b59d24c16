"""A throw-away node: a process tree with a machine of its own to change.

    python -m rundlet.runtime.node [--] COMMAND …

    outer                     in the caller's namespaces; makes and removes the cgroup subtree
      └─ pid 1 of the node    new network, mount, pid, ipc, uts and cgroup namespaces; reaps
           └─ COMMAND         RUNDLET_NODE=1 in its environment

Inside, loopback is up, /run and /var/lib/cni are empty, /sys shows the node's
own network devices, and the cgroup file systems show a subtree made for the
node.  When COMMAND ends, the kernel kills everything that was started (the pid
namespace ends) and takes every mount, interface and namespace with it; the
outer process then removes the cgroups.  Nothing of the caller's machine changes.
"""

import os
import signal
import socket
import struct
import sys
import time
from typing import Any, NamedTuple, NoReturn

from rundlet.kernel import mount, namespace, prctl

_FLAGS = (
    namespace.CLONE_NEWNS | namespace.CLONE_NEWNET | namespace.CLONE_NEWPID
    | namespace.CLONE_NEWIPC | namespace.CLONE_NEWUTS | namespace.CLONE_NEWCGROUP
)  # fmt: skip
_PRIVATE_DIRECTORIES = ("/run", "/var/lib/cni")
_REMOVE_TIMEOUT_S = 5.0


class Hierarchy(NamedTuple):
    """A mounted cgroup file system and this process's place in it."""

    mountpoint: str
    fstype: str
    options: str
    path: str


def list_hierarchies() -> list[Hierarchy]:
    """Every cgroup hierarchy mounted here (proc(5): /proc/self/cgroup and mounts)."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        mine = {line.split(":", 2)[1]: line.rstrip("\n").split(":", 2)[2] for line in file}
    found = []
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            _, mountpoint, fstype, options, *_ = line.split()
            if fstype == "cgroup2":
                found.append(Hierarchy(mountpoint, fstype, "", mine.get("", "/")))
            elif fstype == "cgroup":
                keys = [key for key in mine if key and set(key.split(",")) <= set(options.split(","))]
                found.extend(Hierarchy(mountpoint, fstype, key, mine[key]) for key in keys)
    return found


def _make_cgroups(name: str, hierarchies: list[Hierarchy]) -> list[str]:
    """A child `name` of this process's cgroup in each hierarchy; the directories."""
    made = []
    for item in hierarchies:
        parent = os.path.normpath(item.mountpoint + item.path)
        directory = f"{parent}/{name}"
        os.mkdir(directory)
        made.append(directory)
        if item.options == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                _copy_text(f"{parent}/{file}", f"{directory}/{file}")
            _write_text(f"{directory}/cgroup.clone_children", "1")
    return made


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _copy_text(source: str, target: str) -> None:
    with open(source, encoding="ascii") as file:
        _write_text(target, file.read())


def _remove_cgroups(directories: list[str]) -> None:
    """Remove the subtrees; the kernel frees a cgroup a moment after its last process was reaped."""
    deadline_s = time.monotonic() + _REMOVE_TIMEOUT_S
    for top in directories:
        for directory, _, _ in os.walk(top, topdown=False):
            while not _try_rmdir(directory):
                if time.monotonic() > deadline_s:
                    print(f"node: cgroup left behind: {directory}", file=sys.stderr)
                    break
                time.sleep(0.02)


def _try_rmdir(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _mount_cgroups(hierarchies: list[Hierarchy]) -> None:
    mount.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", mount.MS_NOSUID, "mode=755")
    for item in hierarchies:
        os.makedirs(item.mountpoint, exist_ok=True)
        if item.mountpoint != "/sys/fs/cgroup" or item.fstype == "cgroup2":
            mount.mount(item.fstype, item.mountpoint, item.fstype, 0, item.options or None)


def raise_loopback() -> None:
    """Set lo up (netdevice(7): SIOCSIFFLAGS), before any part of the network room is needed."""
    import fcntl

    ifreq = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, ifreq)


def _furnish(hierarchies: list[Hierarchy]) -> None:
    """Make the node's own view of the machine, as pid 1 in the new namespaces."""
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_SLAVE)
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_SHARED)
    mount.mount("proc", "/proc", "proc", mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC)
    mount.umount("/sys", mount.MNT_DETACH)
    mount.mount("sysfs", "/sys", "sysfs", mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC)
    _mount_cgroups(hierarchies)
    for directory in _PRIVATE_DIRECTORIES:
        os.makedirs(directory, exist_ok=True)
        mount.mount("tmpfs", directory, "tmpfs", mount.MS_NOSUID, "mode=755")
    os.makedirs("/run/lock", exist_ok=True)
    namespace.set_hostname("rundlet-node")
    raise_loopback()


def _pass_on_term(pid: int) -> Any:
    """SIGTERM is for that process; it may have ended already, which is no failure of the node's.  The handler before."""

    def pass_on(*_: object) -> None:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    return signal.signal(signal.SIGTERM, pass_on)


def _reap_until(child: int) -> int:
    """pid 1's life: reap whatever ends, answer with the command's exit code."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _live_as_first(argv: list[str], hierarchies: list[Hierarchy]) -> NoReturn:
    """Never returns: ends with the command's exit code, 125 when the node could not be made."""
    prctl.prctl(prctl.PR_SET_PDEATHSIG, signal.SIGKILL)
    code = 125
    try:
        _furnish(hierarchies)
        child = os.fork()
        if child == 0:
            _exec(argv)
        _pass_on_term(child)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = _reap_until(child)
    except OSError as error:
        print(f"node: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exec(argv: list[str]) -> NoReturn:
    try:
        os.execvpe(argv[0], argv, {**os.environ, "RUNDLET_NODE": "1"})
    except OSError as error:
        print(f"node: {argv[0]}: {error.strerror}", file=sys.stderr)
    os._exit(127)


def _enter(argv: list[str], directories: list[str], hierarchies: list[Hierarchy]) -> NoReturn:
    """In the first child: join the cgroups, leave the namespaces, become the parent of pid 1."""
    prctl.prctl(prctl.PR_SET_PDEATHSIG, signal.SIGKILL)
    for directory in directories:
        _write_text(f"{directory}/cgroup.procs", "0")
    namespace.unshare(_FLAGS)
    first = os.fork()
    if first == 0:
        _live_as_first(argv, hierarchies)
    _pass_on_term(first)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(first, 0)
    os._exit(max(0, os.waitstatus_to_exitcode(status)))


def run_in_node(argv: list[str]) -> int:
    """Run `argv` in a throw-away node and wait for it; its exit code (128 + signal when killed).

    Raises OSError when the node's cgroups cannot be made (not root, no cgroups).
    """
    hierarchies = list_hierarchies()
    directories: list[str] = []
    try:
        directories = _make_cgroups(f"rundlet-node-{os.getpid()}", hierarchies)
        child = os.fork()
        if child == 0:
            _enter(argv, directories, hierarchies)
        previous = _pass_on_term(child)
        _, status = os.waitpid(child, 0)
        signal.signal(signal.SIGTERM, previous)
        return os.waitstatus_to_exitcode(status)
    finally:
        _remove_cgroups(directories)


def main(argv: list[str]) -> int:
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        print("usage: python -m rundlet.runtime.node [--] COMMAND …", file=sys.stderr)
        return 2
    try:
        return run_in_node(command)
    except PermissionError as error:
        print(f"node: {error}: a throw-away node needs root", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
