"""`ps --ns`: which namespaces a container's first process is in, by their inode numbers (namespaces(7))."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rundlet.local.status import Container

# podman's field, and the file of /proc/PID/ns.
_FILES = {
    "CGROUPNS": "cgroup",
    "IPC": "ipc",
    "MNT": "mnt",
    "NET": "net",
    "PIDNS": "pid",
    "USERNS": "user",
    "UTS": "uts",
}
COLUMNS = {"ID": "CONTAINER ID", "Names": "NAMES", "Pid": "PID", **{field: field for field in _FILES}}


def read_namespaces(found: "Container") -> dict[str, str]:
    """By podman's field; empty texts for a container that does not run."""
    return {field: _read(found.pid, file) if found.pid else "" for field, file in _FILES.items()}


def describe_namespaces(numbers: dict[str, str]) -> dict[str, str]:
    """As podman's JSON has them: those that there are."""
    return {_FILES[field]: number for field, number in numbers.items() if number}


def _read(pid: int, file: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{file}").partition("[")[2].rstrip("]")
    except OSError:  # it has just ended
        return ""
