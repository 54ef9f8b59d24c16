"""One process of config.json as a ProcessPlan: identity, limits, scheduling, labels, program."""

import base64
from collections.abc import Sequence
from typing import Any

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.kernel.capability import NUMBERS
from rundlet.plan.attributes import (
    Attribute,
    SetIoPriority,
    SetLimit,
    SetMemoryPolicy,
    SetPersonality,
    SetScheduler,
)
from rundlet.plan.checks import CONFIG, check_absolute, check_id, check_known, check_range, check_words
from rundlet.plan.host import Filter, Host
from rundlet.plan.process import CapabilitySets, Listener, ProcessPlan
from rundlet.spec.runtime import (
    Capabilities,
    IoPriority,
    Linux,
    MemoryPolicy,
    Process,
    Rlimit,
    Scheduler,
    User,
)

# <asm-generic/resource.h>; x86-64 and arm64 agree
RLIMITS = {
    name: number
    for number, name in enumerate(
        """RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE
        RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO
        RLIMIT_RTTIME""".split()
    )
}
_RLIM_INFINITY = (1 << 64) - 1
_CPUS_MAX = 8192  # CONFIG_NR_CPUS of the largest kernels
_NODES_MAX = 1024
_U64 = (1 << 64) - 1
_ALL_CAPABILITIES = (1 << 64) - 1


def plan_process(
    process: Process,
    host: Host,
    seccomp: Filter | None = None,
    *,
    linux: Linux | None = None,
    state: dict[str, Any] | None = None,
) -> ProcessPlan:
    """Identity, limits and program of one process: a container's first, or an exec into it.

    `linux` is the container's, whose personality, memory policy and seccomp
    listener hold for every process; `state` its state document, for the listener.
    """
    linux = linux or Linux()
    check_absolute(process.cwd, "process.cwd")
    check_words(process.args or (), "process.args")
    check_words(process.env or (), "process.env")
    _check_user(process.user)
    size = process.console_size
    for name, value in (("height", size.height), ("width", size.width)) if size else ():
        check_range(value, 0, 0xFFFF, f"process.consoleSize.{name}")
    if process.oom_score_adj is not None:
        check_range(process.oom_score_adj, -1000, 1000, "process.oomScoreAdj")
    in_user_namespace = any(item.type == "user" for item in linux.namespaces or [])
    available = _ALL_CAPABILITIES if in_user_namespace else host.capabilities
    return ProcessPlan(
        args=tuple(process.args or ()),
        env=tuple(process.env or ()),
        cwd=process.cwd,
        uid=process.user.uid,
        gid=process.user.gid,
        groups=tuple(process.user.additional_gids or ()),
        umask=process.user.umask,
        capabilities=_plan_capabilities(process.capabilities, available),
        no_new_privileges=process.no_new_privileges,
        limits=_plan_limits(process.rlimits or []),
        oom_score_adj=process.oom_score_adj,
        terminal=process.terminal,
        seccomp=base64.b64encode(seccomp.program).decode() if seccomp else "",
        seccomp_flags=seccomp.flags if seccomp else 0,
        console_size=(size.height, size.width) if size else (0, 0),
        attributes=_plan_attributes(process, linux),
        affinity=_plan_affinity(process),
        labels=_plan_labels(process, host),
        listener=_plan_listener(linux, state),
    )


def _check_user(user: User) -> None:
    check_id(user.uid, "process.user.uid")
    check_id(user.gid, "process.user.gid")
    for index, gid in enumerate(user.additional_gids or []):
        check_id(gid, f"process.user.additionalGids[{index}]")
    if user.umask is not None:
        check_range(user.umask, 0, 0o777, "process.user.umask")


def _plan_capabilities(sets: Capabilities | None, available: int) -> CapabilitySets:
    """Names unknown here and what this host cannot give are left out, as runc does with a warning.

    So are ambient capabilities that are not permitted and inheritable: no
    kernel gives those (capabilities(7)), and runc's own default asks for them.
    """
    given = sets or Capabilities()
    bounding, effective, permitted, inheritable, ambient = (
        sum(1 << NUMBERS[name] for name in set(names or ()) if name in NUMBERS) & available
        for names in (given.bounding, given.effective, given.permitted, given.inheritable, given.ambient)
    )
    return CapabilitySets(
        bounding, effective & permitted, permitted, inheritable, ambient & permitted & inheritable
    )


def _plan_limits(limits: Sequence[Rlimit]) -> tuple[SetLimit, ...]:
    planned: dict[str, SetLimit] = {}
    for index, limit in enumerate(limits):
        where = f"process.rlimits[{index}]"
        number = check_known(limit.type, RLIMITS, f"{where}.type")
        if limit.type in planned:
            raise InvalidArgument(f"{CONFIG}{where}.type: {limit.type} is given twice")
        for name, value in (("soft", limit.soft), ("hard", limit.hard)):
            check_range(value, 0, _U64, f"{where}.{name}")
        if limit.soft > limit.hard:
            raise InvalidArgument(f"{CONFIG}{where}.soft: expected at most the hard limit {limit.hard}")
        soft, hard = (-1 if value == _RLIM_INFINITY else value for value in (limit.soft, limit.hard))
        for value in (soft, hard):
            check_range(value, -1, (1 << 63) - 1, where)
        planned[limit.type] = SetLimit(limit.type, number, soft, hard)
    return tuple(planned.values())


def _plan_attributes(process: Process, linux: Linux) -> tuple[Attribute, ...]:
    planned: list[Attribute] = []
    if linux.personality is not None:
        from rundlet.kernel import personality

        domain = check_known(linux.personality.domain, personality.DOMAINS, "linux.personality.domain")
        if linux.personality.flags:
            raise InvalidArgument(f"{CONFIG}linux.personality.flags: expected none, no flag is defined")
        planned.append(SetPersonality(linux.personality.domain, domain))
    if linux.memory_policy is not None:
        planned.append(_plan_memory_policy(linux.memory_policy))
    if process.scheduler is not None:
        planned.append(_plan_scheduler(process.scheduler))
    if process.io_priority is not None:
        planned.append(_plan_io_priority(process.io_priority))
    return tuple(planned)


def _plan_scheduler(value: Scheduler) -> SetScheduler:
    """config.md#linux-process: values that the policy does not take are errors."""
    from rundlet.kernel import sched

    where = "process.scheduler"
    policy = check_known(value.policy, sched.POLICIES, f"{where}.policy")
    flags = 0
    for index, name in enumerate(value.flags or []):
        flags |= check_known(name, sched.FLAGS, f"{where}.flags[{index}]")
    is_realtime = value.policy in ("SCHED_FIFO", "SCHED_RR")
    is_deadline = value.policy == "SCHED_DEADLINE"
    check_range(value.nice, -20, 19, f"{where}.nice")
    check_range(value.priority, int(is_realtime), 99 if is_realtime else 0, f"{where}.priority")
    for name, time_ns in (("runtime", value.runtime), ("deadline", value.deadline), ("period", value.period)):
        check_range(time_ns, 0, _U64 if is_deadline else 0, f"{where}.{name}")
    return SetScheduler(
        value.policy, policy, flags, value.nice, value.priority, value.runtime, value.deadline, value.period
    )


def _plan_io_priority(value: IoPriority) -> SetIoPriority:
    from rundlet.kernel import ioprio

    io_class = check_known(value.class_, ioprio.CLASSES, "process.ioPriority.class")
    check_range(value.priority, 0, 7, "process.ioPriority.priority")
    return SetIoPriority(value.class_, io_class, value.priority)


def _plan_memory_policy(value: MemoryPolicy) -> SetMemoryPolicy:
    from rundlet.kernel import mempolicy

    mode = check_known(value.mode, mempolicy.MODES, "linux.memoryPolicy.mode")
    for index, name in enumerate(value.flags or []):
        mode |= check_known(name, mempolicy.FLAGS, f"linux.memoryPolicy.flags[{index}]")
    nodes = parse_list(value.nodes, _NODES_MAX, "linux.memoryPolicy.nodes")
    return SetMemoryPolicy(value.mode, mode, nodes)


def _plan_affinity(process: Process) -> tuple[tuple[int, ...], tuple[int, ...]]:
    given = process.exec_cpu_affinity
    if given is None:
        return (), ()
    where = "process.execCPUAffinity"
    return parse_list(given.initial, _CPUS_MAX, f"{where}.initial"), parse_list(
        given.final, _CPUS_MAX, f"{where}.final"
    )


def parse_list(text: str, limit: int, where: str) -> tuple[int, ...]:
    """CPUs or nodes as cpuset(7) writes them: "0-3,7"; all below `limit`."""
    numbers: set[int] = set()
    for part in text.replace(" ", "").split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            raise InvalidArgument(f"{CONFIG}{where}: expected a list such as 0-3,7, got {text!r}")
        low, high = map(int, ends)
        check_range(high, low, limit - 1, where)
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def _plan_labels(process: Process, host: Host) -> tuple[tuple[str, str], ...]:
    """What to write where below /proc/self/attr; refused by name on a kernel without the module."""
    labels = []
    profile = process.apparmor_profile
    if profile and not (profile == "unconfined" and "apparmor" not in host.security_modules):
        _need_module("apparmor", host, "process.apparmorProfile")
        labels.append(("apparmor/exec", f"exec {profile}"))
    if process.selinux_label:
        _need_module("selinux", host, "process.selinuxLabel")
        labels.append(("exec", process.selinux_label))
    return tuple(labels)


def _need_module(name: str, host: Host, where: str) -> None:
    if name not in host.security_modules:
        raise FailedPrecondition(
            f"{CONFIG}{where}: this kernel does not run {name}", hint=f"leave {where} out on this host"
        )


def plan_mount_label(linux: Linux, host: Host) -> str:
    """linux.mountLabel, where the kernel knows what to do with it."""
    if linux.mount_label:
        _need_module("selinux", host, "linux.mountLabel")
    return linux.mount_label


def _plan_listener(linux: Linux, state: dict[str, Any] | None) -> Listener | None:
    profile = linux.seccomp
    if profile is None:
        return None
    actions = {rule.action for rule in profile.syscalls or []}
    if not profile.listener_path:
        if "SCMP_ACT_NOTIFY" in actions:
            raise InvalidArgument(f"{CONFIG}linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs a listener")
        if profile.listener_metadata:
            raise InvalidArgument(f"{CONFIG}linux.seccomp.listenerMetadata: set without listenerPath")
        return None
    check_absolute(profile.listener_path, "linux.seccomp.listenerPath")
    if "SCMP_ACT_NOTIFY" not in actions:
        return None
    for index, rule in enumerate(profile.syscalls or []):
        if rule.action == "SCMP_ACT_NOTIFY" and "sendmsg" in rule.names:
            raise InvalidArgument(
                f"{CONFIG}linux.seccomp.syscalls[{index}]: SCMP_ACT_NOTIFY for sendmsg would stop the process "
                "before it can send the listener"
            )
    return Listener(profile.listener_path, profile.listener_metadata, state or {})
