"""Where the run root is, found out by next to no imports: a command looks here before it has begun.

/run/rundlet                 root's
$XDG_RUNTIME_DIR/rundlet     a user's, where the login made that directory
/tmp/rundlet-UID             else
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ROOTS_RUN_ROOT = "/run/rundlet"


def find_run_root(environ: "Mapping[str, str]", uid: int) -> str:
    """The usual one of this user; nothing is made."""
    if uid == 0:
        return ROOTS_RUN_ROOT
    given = environ.get("XDG_RUNTIME_DIR", "")
    for directory in filter(None, (given, f"/run/user/{uid}")):
        if directory.startswith("/") and os.path.isdir(directory):
            return f"{directory}/rundlet"
    return f"/tmp/rundlet-{uid}"  # noqa: S108 - looked at by claim_run_root
