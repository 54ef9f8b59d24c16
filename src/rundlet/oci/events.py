"""`events`: statistics, and out-of-memory kills as they happen, one JSON object a line.

    {"type":"stats","id":"c1","data":{"cpu":{"usage":{"total":1234,"percpu":[…],"kernel":…,"user":…},"throttling":{…}},
     "memory":{"usage":{"limit":…,"usage":…,"max":…,"failcnt":…},"raw":{"rss":…}},"pids":{"current":1,"limit":…}}}
    {"type":"oom","id":"c1"}

Field names are runc's, since engines and their exporters read them.
"""

import os
import sys
import time

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.stats import read_oom_kills
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.oci import containers, groups, json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context

_DEFAULT_INTERVAL_S = 5.0
_OOM_CHECK_S = 0.25
_TICK_NS = 10_000_000  # USER_HZ is 100 on every machine that Linux's interface promises anything for


def events(context: Context, arguments: Arguments) -> int:
    interval_s = arguments.flags.get("interval", _DEFAULT_INTERVAL_S)
    if interval_s <= 0:
        raise InvalidArgument("flag --interval: expected a time above 0")
    container = containers.load(context.root, arguments.words[0])
    group = groups.group_of(container.record)
    if container.status() == "stopped" or group is None:
        raise FailedPrecondition(f'container "{container.record.id}": container not running')
    if arguments.has("stats"):
        _write(container, {"type": "stats", "data": read_figures(group)})
        return 0
    _follow(container, group, interval_s)
    return 0


def _follow(container: containers.Container, group: Group, interval_s: float) -> None:
    """Until the container ends; cgroup v1 files cannot be waited on without an eventfd, so kills are looked for."""
    killed = read_oom_kills(group)
    next_s = time.monotonic() + interval_s
    while container.status() != "stopped":
        time.sleep(min(_OOM_CHECK_S, max(0.0, next_s - time.monotonic())))
        count = read_oom_kills(group)
        for _ in range(count - killed):
            _write(container, {"type": "oom"})
        killed = count
        if time.monotonic() >= next_s:
            next_s += interval_s
            try:
                _write(container, {"type": "stats", "data": read_figures(group)})
            except (NotFound, OSError):
                return  # it went meanwhile


def _write(container: containers.Container, event: dict[str, object]) -> None:
    sys.stdout.write(json.write({"type": event.pop("type"), "id": container.record.id, **event}) + "\n")
    sys.stdout.flush()


def read_figures(group: Group) -> dict[str, object]:
    """What the host keeps of it; controllers that are not there are left out."""
    read = _read_v1 if group.layout.version == 1 else _read_v2
    return read(group)


def _read_v1(group: Group) -> dict[str, object]:
    times = _pairs(group, "cpuacct", "cpuacct.stat")
    throttling = _pairs(group, "cpu", "cpu.stat")
    memory = _pairs(group, "memory", "memory.stat")
    return {
        "cpu": {
            "usage": {
                "total": _number(group, "cpuacct", "cpuacct.usage"),
                "percpu": [int(word) for word in _text(group, "cpuacct", "cpuacct.usage_percpu").split()],
                "kernel": times.get("system", 0) * _TICK_NS,
                "user": times.get("user", 0) * _TICK_NS,
            },
            "throttling": {
                "periods": throttling.get("nr_periods", 0),
                "throttledPeriods": throttling.get("nr_throttled", 0),
                "throttledTime": throttling.get("throttled_time", 0),
            },
        },
        "memory": {
            "cache": memory.get("cache", 0),
            "usage": _usage_v1(group, "memory"),
            "swap": _usage_v1(group, "memory.memsw"),
            "kernel": _usage_v1(group, "memory.kmem"),
            "kernelTCP": _usage_v1(group, "memory.kmem.tcp"),
            "raw": memory,
        },
        "pids": _pids(group),
    }


def _usage_v1(group: Group, prefix: str) -> dict[str, int]:
    files = {
        "limit": "limit_in_bytes", "usage": "usage_in_bytes", "max": "max_usage_in_bytes", "failcnt": "failcnt",
    }  # fmt: skip
    return {name: _number(group, "memory", f"{prefix}.{file}") for name, file in files.items()}


def _read_v2(group: Group) -> dict[str, object]:
    cpu = _pairs(group, "cpu", "cpu.stat")
    memory = _pairs(group, "memory", "memory.stat")
    return {
        "cpu": {
            "usage": {
                "total": cpu.get("usage_usec", 0) * 1000,
                "kernel": cpu.get("system_usec", 0) * 1000,
                "user": cpu.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttledPeriods": cpu.get("nr_throttled", 0),
                "throttledTime": cpu.get("throttled_usec", 0) * 1000,
            },
        },
        "memory": {
            "cache": memory.get("file", 0),
            "usage": {
                "limit": _number(group, "memory", "memory.max"),
                "usage": _number(group, "memory", "memory.current"),
                "max": _number(group, "memory", "memory.peak"),
            },
            "swap": {
                "limit": _number(group, "memory", "memory.swap.max"),
                "usage": _number(group, "memory", "memory.swap.current"),
            },
            "raw": memory,
        },
        "pids": _pids(group),
    }


def _pids(group: Group) -> dict[str, int]:
    return {
        "current": _number(group, "pids", "pids.current"),
        "limit": _number(group, "pids", "pids.max"),
    }


def _text(group: Group, controller: str, file: str) -> str:
    """Empty where the host does not keep it."""
    try:
        return read_text(os.path.join(group.directory(controller), file))
    except (NotFound, FileNotFoundError):
        return ""


def _number(group: Group, controller: str, file: str) -> int:
    """0 where there is none, and for "max", as runc has it."""
    text = _text(group, controller, file).strip()
    return int(text) if text.lstrip("-").isdigit() else 0


def _pairs(group: Group, controller: str, file: str) -> dict[str, int]:
    lines = (line.split() for line in _text(group, controller, file).splitlines())
    return {name: int(value) for name, value in lines}
