"""An ordinary user's run root (`rootless.runroot`) may lie in /tmp, which is everybody's: it must be the user's own, and closed."""

import os
import stat

from rundlet.errors import PermissionDenied


def claim_run_root(path: str) -> None:
    """Make it, closed to others; PermissionDenied when it is somebody else's, a link, or open for writing."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(path)
    wrong = (
        "it is no directory" if not stat.S_ISDIR(found.st_mode)
        else f"it belongs to user {found.st_uid}" if found.st_uid != os.geteuid()
        else "others may write to it" if found.st_mode & 0o022
        else ""
    )  # fmt: skip
    if wrong:
        raise PermissionDenied(
            f"run root {path}: {wrong}",
            hint="set XDG_RUNTIME_DIR or RUNDLET_RUN_ROOT to a directory of your own",
        )
