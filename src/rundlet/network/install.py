"""Launchers that make CNI executables of the built-in plugins.

<directory>/bridge, host-local, …     #!<python> -IS, the places to import from, `main(type)`
"""

import os
import sys

import msgspec

import rundlet
from rundlet.network.builtin import BUILTIN
from rundlet.network.leases import storage_error

# typing_extensions, which msgspec tries before what it needs from typing, costs 10 ms of 50.
_LAUNCHER = """\
#!{python} -IS
import sys
sys.path[:0] = {places!r}
sys.modules["typing_extensions"] = None
from rundlet.network.plugin import main
main({kind!r})
"""


def install_plugins(directory: str) -> list[str]:
    """Write an executable for each built-in plugin into `directory`, in place of what is there; their paths.

    Each is published by a rename: a runtime that is using the directory never
    sees half of one.
    """
    places = sorted(
        {os.path.dirname(os.path.dirname(os.path.abspath(one.__file__ or ""))) for one in (rundlet, msgspec)}
    )
    paths = []
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        for kind in BUILTIN:
            path = os.path.join(directory, kind)
            new = os.path.join(directory, f".{kind}.new")
            with open(new, "w", encoding="utf-8") as file:
                file.write(_LAUNCHER.format(python=sys.executable, places=places, kind=kind))
                os.fchmod(file.fileno(), 0o755)
            os.rename(new, path)
            paths.append(path)
    except OSError as error:
        raise storage_error(f"write CNI plugins to {directory}", error) from error
    return paths
