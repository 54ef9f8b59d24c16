"""Where the keeper of a run root is to be found."""

import os


def keeper_dir(run_root: str) -> str:
    return f"{run_root}/keeper"


def connect_path(directory: str, name: str = "sock") -> tuple[int, str]:
    """(descriptor to close, address) of a socket in `directory`, however long its path is (sun_path has 108 bytes)."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return fd, f"/proc/self/fd/{fd}/{name}"
