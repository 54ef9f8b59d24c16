"""What this host gives an ordinary user, as plain values with advice: for `rundlet doctor` and `info`."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from rundlet.kernel.namespace import outer_uid
from rundlet.rootless.subid import SUBGID_FILE, SUBUID_FILE, Range, find_name, read_ranges

_SYSCTLS = (
    "user/max_user_namespaces",
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
    "net/ipv4/ip_unprivileged_port_start",
)
_PROGRAMS = ("newuidmap", "newgidmap", "slirp4netns", "pasta", "fuse-overlayfs")
_PROBE_TIMEOUT_S = 10.0


class HostFacts(NamedTuple):
    """What was found.

    `sysctls` has those that the kernel has; `probes` the errno of each attempt (`rundlet.rootless.probe`),
    -1 where it could not be made; `controllers` are those of a delegated cgroup.
    """

    uid: int
    name: str
    sysctls: Mapping[str, str]
    subuids: tuple[Range, ...]
    subgids: tuple[Range, ...]
    programs: Mapping[str, str]
    probes: Mapping[str, int]
    tun_is_open: bool
    controllers: tuple[str, ...]


class Finding(NamedTuple):
    """One line of a report; `hint` says what to do, empty where nothing is to be done."""

    name: str
    level: Literal["ok", "warning", "fault"]
    message: str
    hint: str = ""


def read_facts() -> HostFacts:
    """Of the user that this process belongs to; takes about 0.1 s, and leaves nothing."""
    uid = outer_uid()
    name = find_name(uid)
    found = {path.replace("/", "."): _read(f"/proc/sys/{path}") for path in _SYSCTLS}
    return HostFacts(
        uid,
        name,
        {key: value for key, value in found.items() if value},
        read_ranges(SUBUID_FILE, name, uid),
        read_ranges(SUBGID_FILE, name, uid),
        {program: shutil.which(program) or "" for program in _PROGRAMS},
        _run_probe(),
        os.access("/dev/net/tun", os.R_OK | os.W_OK),
        _read_controllers(),
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _run_probe() -> dict[str, int]:
    command = [sys.executable, "-m", "rundlet.rootless.probe"]
    with tempfile.TemporaryDirectory() as directory:
        try:
            done = subprocess.run(
                [*command, directory], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
            )
            answer: dict[str, int] = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return {"user": -1}
    return answer


def _read_controllers() -> tuple[str, ...]:
    """Of the version 2 group that this process is in, when it is the user's."""
    path = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    own = f"/sys/fs/cgroup{path}"
    if not path or not os.access(f"{own}/cgroup.procs", os.W_OK) or os.geteuid() == 0:
        return ()
    return tuple(_read(f"{own}/cgroup.controllers").split())


def judge(facts: HostFacts) -> list[Finding]:
    """What of it helps and what stands in the way; pure."""
    return [
        _judge_namespaces(facts),
        _judge_ids(facts),
        _judge_overlay(facts),
        _judge_proc(facts),
        _judge_network(facts),
        _judge_cgroups(facts.controllers),
    ]


def _judge_namespaces(facts: HostFacts) -> Finding:
    refusal = facts.probes.get("user", -1)
    if refusal == 0:
        return Finding("user namespaces", "ok", "an ordinary user can make them")
    return Finding("user namespaces", "fault", _say("refused", refusal), _advise_namespaces(facts.sysctls))


def _advise_namespaces(sysctls: Mapping[str, str]) -> str:
    for key, wrong, right in (
        ("user.max_user_namespaces", "0", "15000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ):
        if sysctls.get(key) == wrong:
            return f"sysctl {key}={right}"
    return "the container or sandbox around this process forbids them"


def _judge_ids(facts: HostFacts) -> Finding:
    line = f"{facts.name or facts.uid}:100000:65536"
    helpers = [name for name in ("newuidmap", "newgidmap") if not facts.programs.get(name)]
    if not (facts.subuids and facts.subgids):
        return Finding(
            "ids",
            "warning",
            "one id is mapped: files and programs of other users are not to be had",
            f"write {line} into {SUBUID_FILE} and {SUBGID_FILE}",
        )
    if helpers:
        return Finding(
            "ids", "warning", f"there are ranges, but no {' and no '.join(helpers)}", "install uidmap"
        )
    return Finding("ids", "ok", f"{_count(facts.subuids)} user and {_count(facts.subgids)} group ids")


def _count(ranges: Sequence[Range]) -> int:
    return sum(item.length for item in ranges)


def _judge_overlay(facts: HostFacts) -> Finding:
    refusal = facts.probes.get("overlay", -1)
    if refusal == 0:
        return Finding("overlay", "ok", "the kernel mounts it in a user namespace")
    return Finding(
        "overlay", "fault", _say("refused", refusal), "Linux 5.11 or newer mounts overlay for users"
    )


def _judge_proc(facts: HostFacts) -> Finding:
    refusal = facts.probes.get("proc", -1)
    if refusal == 0:
        return Finding("/proc", "ok", "a container gets its own")
    hint = "a container around this one covers parts of /proc: run it with --security-opt unmask=ALL"
    return Finding(
        "/proc",
        "fault",
        _say("a container's own is refused", refusal),
        hint if refusal == errno.EPERM else "",
    )


def _judge_network(facts: HostFacts) -> Finding:
    program = next((name for name in ("slirp4netns", "pasta") if facts.programs.get(name)), "")
    if not program:
        return Finding(
            "network", "warning", "containers have a loopback only", "install slirp4netns or passt"
        )
    if not facts.tun_is_open:
        return Finding("network", "warning", f"{program} may not open /dev/net/tun", "chmod 666 /dev/net/tun")
    start = facts.sysctls.get("net.ipv4.ip_unprivileged_port_start", "1024")
    return Finding("network", "ok", f"by {program}; ports from {start} on can be published")


def _judge_cgroups(controllers: Sequence[str]) -> Finding:
    if controllers:
        return Finding("cgroups", "ok", f"delegated: {', '.join(controllers)}")
    return Finding(
        "cgroups",
        "warning",
        "none is delegated: limits of memory, CPU and processes are refused",
        "with cgroup version 2: systemd-run --user --scope -p Delegate=yes",
    )


def _say(what: str, refusal: int) -> str:
    return f"{what}: {os.strerror(refusal).lower() if refusal > 0 else 'it could not be tried'}"
