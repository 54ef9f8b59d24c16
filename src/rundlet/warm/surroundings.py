"""Whether two processes are in the same place with the same rights: what the one does, the other might have done.

See proc(5) and namespaces(7).
"""

import os
from collections.abc import Mapping

_STATUS = (
    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
    "Cpus_allowed", "Mems_allowed",
)  # fmt: skip
_FILES = ("limits", "oom_score_adj", "loginuid", "attr/current")


def read_status(pid: int) -> dict[str, str]:
    """/proc/PID/status; OSError when the process has gone."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def are_same(pid: int, status: Mapping[str, str]) -> bool:
    """Whether process `pid`, whose `read_status` is given, is where this process is; OSError when it has gone."""
    own_pid, own = os.getpid(), read_status(os.getpid())
    return (
        all(status.get(name) == own.get(name) for name in _STATUS)
        and _read_namespaces(pid) == _read_namespaces(own_pid)
        and os.path.samestat(os.stat(f"/proc/{pid}/root/"), os.stat("/"))
        and os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
        and all(_read(pid, name) == _read(own_pid, name) for name in _files_to_compare())
    )


def _files_to_compare() -> tuple[str, ...]:
    """An ordinary user's limits may be those of the cgroup that was delegated to the session."""
    return (*_FILES, "cgroup") if os.geteuid() else _FILES


def _read_namespaces(pid: int) -> list[str]:
    directory = f"/proc/{pid}/ns"
    return [os.readlink(f"{directory}/{kind}") for kind in sorted(os.listdir(directory))]


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return b""  # not in this kernel
    except OSError as error:  # EINVAL: no security module is there to answer
        return b"%d" % (error.errno or 0)
