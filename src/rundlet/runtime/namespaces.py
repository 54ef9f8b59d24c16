"""Steps on namespaces and on what belongs to one: names, settings, scores."""

import errno
import os
from collections.abc import Callable
from typing import Any

from rundlet.kernel import namespace
from rundlet.plan import steps
from rundlet.runtime.context import Context, write_file


def _join_cgroup(step: steps.JoinCgroup, _: Context) -> None:
    for path in step.files:
        write_file(path, "0")


def _join_namespace(step: steps.JoinNamespace, _: Context) -> None:
    namespace.join(step.path, namespace.KINDS[step.kind].flag)


def _unshare(step: steps.Unshare, _: Context) -> None:
    namespace.unshare(namespace.KINDS[step.kind].flag)


def _make_time_namespace(step: steps.NewTimeNamespace, _: Context) -> None:
    """Offsets can be written until the first process lives in it (time_namespaces(7))."""
    namespace.unshare(namespace.CLONE_NEWTIME)
    for clock, secs, nanosecs in step.offsets:
        write_file("/proc/self/timens_offsets", f"{clock} {secs} {nanosecs}")


def _own_cgroup(step: steps.OwnCgroup, _: Context) -> None:
    """The directory and those of its files that the kernel says may be delegated."""
    with open("/sys/kernel/cgroup/delegate", encoding="ascii") as file:
        names = file.read().split()
    os.chown(step.directory, step.uid, -1)
    for name in names:
        try:
            os.chown(f"{step.directory}/{name}", step.uid, -1)
        except FileNotFoundError:
            pass  # of a controller that is not enabled here


def _set_hostname(step: steps.SetHostname, _: Context) -> None:
    namespace.set_hostname(step.name)


def _set_domainname(step: steps.SetDomainname, _: Context) -> None:
    namespace.set_domainname(step.name)


def sysctl_path(name: str) -> str:
    """/proc/sys/net/ipv4/ip_forward for net.ipv4.ip_forward; slashes stay as they are."""
    return f"/proc/sys/{name if '/' in name else name.replace('.', '/')}"


def _write_sysctl(step: steps.WriteSysctl, _: Context) -> None:
    write_file(sysctl_path(step.name), step.value)


def _set_oom_score(step: steps.SetOomScore, _: Context) -> None:
    """Where this process may not go lower (CAP_SYS_RESOURCE), its own score is as low as it gets."""
    try:
        write_file("/proc/self/oom_score_adj", str(step.value))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM) or step.value >= 0:
            raise


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    steps.JoinCgroup: _join_cgroup,
    steps.JoinNamespace: _join_namespace,
    steps.Unshare: _unshare,
    steps.NewTimeNamespace: _make_time_namespace,
    steps.OwnCgroup: _own_cgroup,
    steps.SetHostname: _set_hostname,
    steps.SetDomainname: _set_domainname,
    steps.WriteSysctl: _write_sysctl,
    steps.SetOomScore: _set_oom_score,
}
