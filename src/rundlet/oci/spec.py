"""`spec`: an example config.json that runs a shell."""

import os

from rundlet.errors import AlreadyExists
from rundlet.oci import json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_QUIET = ["nosuid", "noexec", "nodev"]
_MASKED = """/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats
/proc/sched_debug /sys/firmware /proc/scsi""".split()
_READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def spec(_: Context, arguments: Arguments) -> int:
    path = os.path.join(arguments.text("bundle") or ".", "config.json")
    document = example(rootless=arguments.has("rootless"))
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.write_pretty(document) + "\n")
    except FileExistsError:
        raise AlreadyExists(f"{path} is there already", hint="move it away first") from None
    return 0


def example(*, rootless: bool) -> dict[str, object]:
    """For root, or for the user who calls: a user namespace then, no network namespace and no cgroup limits."""
    kinds = ["pid", "ipc", "uts", "mount"] + (["user", "cgroup"] if rootless else ["network"])
    linux: dict[str, object] = {
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    }
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return {
        "ociVersion": "1.2.1",
        "process": _process(terminal=True),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "rundlet",
        "mounts": _mounts(rootless=rootless),
        "linux": linux,
    }


def _process(*, terminal: bool) -> dict[str, object]:
    return {
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(*, rootless: bool) -> list[dict[str, object]]:
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *([] if rootless else ["gid=5"])]
    sys_mount = (
        _mount("/sys", "none", "/sys", ["rbind", *_QUIET, "ro"])
        if rootless
        else _mount("/sys", "sysfs", "sysfs", [*_QUIET, "ro"])
    )
    return [
        _mount("/proc", "proc", "proc", []),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", [*_QUIET, "mode=1777", "size=65536k"]),  # noqa: S108 - the container's
        _mount("/dev/mqueue", "mqueue", "mqueue", _QUIET),
        sys_mount,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_QUIET, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, object]:
    return {"destination": destination, "type": kind, "source": source, "options": options}
