"""`events`: statistics, and out-of-memory kills as they happen, one JSON object a line.

    {"type":"stats","id":"c1","data":{"cpu":{"usage":{"total":1234,"percpu":[…],"kernel":…,"user":…},"throttling":{…}},
     "memory":{"usage":{"limit":…,"usage":…,"max":…,"failcnt":…},"raw":{"rss":…}},"pids":{"current":1,"limit":…}}}
    {"type":"oom","id":"c1"}

Field names are runc's, since engines and their exporters read them.
"""

import os
import select
import sys
import time

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.oom import OomEvents
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.oci import containers, groups, json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context

_DEFAULT_INTERVAL_S = 5.0
_LOOK_AGAIN_S = 0.02
_RING_S = 1.0
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
    """Until the container ends: figures at each interval, kills when the kernel tells of them."""
    pidfd = containers.open_process(container)
    kills = _Kills(group)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    kills.register(poll)
    next_s = time.monotonic() + interval_s
    ended = False
    while not ended:
        ready = {fd for fd, _ in poll.poll(max(0.0, kills.look_again(next_s) - time.monotonic()) * 1000)}
        ended = pidfd in ready
        for _ in range(kills.take(ready)):
            _write(container, {"type": "oom"})
        if not ended and time.monotonic() >= next_s:
            next_s += interval_s
            try:
                _write(container, {"type": "stats", "data": read_figures(group)})
            except (NotFound, OSError):
                return  # it went meanwhile


class _Kills:
    """Out-of-memory kills of a group; none where it has no memory controller."""

    def __init__(self, group: Group) -> None:
        try:
            self._events: OomEvents | None = OomEvents(group)
        except (NotFound, OSError):
            self._events = None
        self._until_s = 0.0

    def register(self, poll: select.poll) -> None:
        if self._events is not None:
            poll.register(self._events.fd, select.POLLPRI if self._events.is_priority else select.POLLIN)

    def look_again(self, next_s: float) -> float:
        """When to look at the latest: version 1 rings a moment before the kill is counted."""
        now_s = time.monotonic()
        return min(next_s, now_s + _LOOK_AGAIN_S) if now_s < self._until_s else next_s

    def take(self, ready: set[int]) -> int:
        """How many there were since the last time."""
        if self._events is None:
            return 0
        if self._events.fd in ready:
            self._until_s = time.monotonic() + _RING_S
        return self._events.take()


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
