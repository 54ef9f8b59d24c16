"""What lies at a path that a configuration masks or makes read-only."""

import os
from collections.abc import Sequence


def find_kinds(root: str, paths: Sequence[str]) -> dict[str, str]:
    """Each path is a "file" or a "directory", or absent when nothing is there.

    Those in /proc and /sys are looked up on the host, all others below `root`.
    """
    kinds = {}
    for path in paths:
        where = path if path.startswith(("/proc/", "/sys/")) else f"{root}{path}"
        if os.path.lexists(where):
            kinds[path] = "directory" if os.path.isdir(where) else "file"
    return kinds
