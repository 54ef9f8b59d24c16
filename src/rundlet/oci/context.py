"""What every command gets: the global flags, read once."""

import os
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.oci.arguments import Arguments
from rundlet.oci.log import Log, make_log


class Context(NamedTuple):
    """`root` is the directory of the containers' states."""

    root: str
    log: Log
    systemd_cgroup: bool
    criu: str
    rootless: bool


def make_context(flags: Arguments) -> Context:
    """Raises InvalidArgument for a value that a flag does not take."""
    manager = flags.text("cgroup-manager", "cgroupfs")
    if manager not in ("cgroupfs", "systemd"):
        raise InvalidArgument(f"unknown cgroup manager {manager!r}", hint="cgroupfs or systemd")
    level = "debug" if flags.has("debug") else flags.text("log-level", "warning")
    return Context(
        root=os.path.abspath(flags.text("root") or default_root()),
        log=make_log(flags.text("log"), flags.text("log-format", "text"), level),
        systemd_cgroup=flags.has("systemd-cgroup") or manager == "systemd",
        criu=flags.text("criu", "criu"),
        rootless=_read_rootless(flags.text("rootless", "auto")),
    )


def default_root() -> str:
    """/run/rundlet-runtime, and for other users the same below $XDG_RUNTIME_DIR."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    base = runtime_dir if os.geteuid() and runtime_dir else "/run"
    return f"{base}/rundlet-runtime"


def _read_rootless(value: str) -> bool:
    if value == "auto":
        return os.geteuid() != 0
    if value not in ("true", "false"):
        raise InvalidArgument(f"flag --rootless: expected true, false or auto, got {value!r}")
    return value == "true"
