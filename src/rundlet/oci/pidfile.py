"""The file that tells an engine the pid of a process."""

import os


def write_pid_file(path: str, pid: int) -> None:
    """By rename, so that a reader never sees half a number; nothing when `path` is empty."""
    if not path:
        return
    fresh = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    with open(fresh, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(fresh, path)
