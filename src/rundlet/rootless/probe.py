"""What the kernel lets an ordinary user do, found out by doing it in a process that ends at once.

    python -m rundlet.rootless.probe DIRECTORY

prints one JSON object: {"user": 0, "overlay": 0, "proc": 0, "network": 0}, each the errno of a refusal or 0.
Everything it makes lies in `DIRECTORY`, or in namespaces that end with it.
"""

import json
import os
import sys
from collections.abc import Callable

from rundlet.kernel import mount, namespace
from rundlet.kernel.clone import clone

_OVERLAY_DIRECTORIES = ("lower", "upper", "work", "merged")


def _try(act: Callable[[], object]) -> int:
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def _mount_overlay(directory: str) -> None:
    for name in _OVERLAY_DIRECTORIES:
        os.makedirs(f"{directory}/{name}", exist_ok=True)
    paths = ",".join(f"{key}dir={directory}/{key}" for key in ("lower", "upper", "work"))
    mount.mount("overlay", f"{directory}/merged", "overlay", 0, f"{paths},userxattr")


def _mount_proc() -> None:
    """procfs of a PID namespace of its own: refused where parts of /proc are covered."""
    namespace.unshare(namespace.CLONE_NEWPID)
    child = clone()
    if child.pid == 0:
        os._exit(_try(lambda: mount.mount("proc", "/proc", "proc")))
    _, status = os.waitpid(child.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OSError(code, os.strerror(code))


def _become_root() -> None:
    uid, gid = os.geteuid(), os.getegid()
    namespace.unshare(namespace.CLONE_NEWUSER | namespace.CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def probe(directory: str) -> dict[str, int]:
    """The errno of each attempt, 0 for success; this process is in other namespaces afterwards."""
    found = {"user": _try(_become_root)}
    if not found["user"]:
        found["overlay"] = _try(lambda: _mount_overlay(directory))
        found["network"] = _try(lambda: namespace.unshare(namespace.CLONE_NEWNET))
        found["proc"] = _try(_mount_proc)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])))
