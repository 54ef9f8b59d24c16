"""Where this machine's containers are kept.

As root it is where rundletd keeps its own, so that images are shared and containers seen:

    <root>          /var/lib/rundlet                     ~/.local/share/rundlet
    <run root>      /run/rundlet                         $XDG_RUNTIME_DIR/rundlet, or /tmp/rundlet-UID
    <config dir>    /etc/rundlet                         ~/.config/rundlet

Below them belong to this room

    <root>/local/<id>/          a container's log
    <run root>/local/locks/     one file for each container that somebody works on
    <config dir>/networks/      networks as CNI configuration lists

RUNDLET_ROOT, RUNDLET_RUN_ROOT and RUNDLET_CONFIG_DIR name others.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from rundlet.engine.configfile import load_settings
from rundlet.engine.settings import Settings
from rundlet.kernel.namespace import outer_uid
from rundlet.rootless.runroot import find_run_root


class Places(NamedTuple):
    """The three directories, absolute."""

    root: str
    run_root: str
    config_dir: str


class MachineSettings(NamedTuple):
    """`engine` is what the engine below is opened with; it has the same roots as `places`."""

    places: Places
    engine: Settings


def find_places(environ: Mapping[str, str], uid: int) -> Places:
    """What the environment names, else the usual ones of root, or of the user `uid`."""
    usual = (
        Places("/var/lib/rundlet", find_run_root(environ, 0), "/etc/rundlet")
        if uid == 0
        else _user_places(environ, uid)
    )
    return Places(
        environ.get("RUNDLET_ROOT") or usual.root,
        environ.get("RUNDLET_RUN_ROOT") or usual.run_root,
        environ.get("RUNDLET_CONFIG_DIR") or usual.config_dir,
    )


def _user_places(environ: Mapping[str, str], uid: int) -> Places:
    home = environ.get("HOME") or f"/tmp/rundlet-home-{uid}"  # noqa: S108 - as good as none
    data = environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    return Places(f"{data}/rundlet", find_run_root(environ, uid), f"{config}/rundlet")


def read_machine_settings(places: Places | None = None) -> MachineSettings:
    """The engine's configuration file with these places (None: the usual ones).

    Raises InvalidArgument when the file is wrong.
    """
    chosen = places or find_places(os.environ, outer_uid())
    given = usual_settings(chosen, outer_uid())
    file = f"{chosen.config_dir}/rundlet.toml"
    return MachineSettings(chosen, load_settings(file if os.path.exists(file) else "", given))


def usual_settings(places: Places, uid: int) -> dict[str, str]:
    """What the engine's settings are because of these places; none of root's directories is an ordinary user's."""
    given = {
        "root": places.root,
        "run_root": places.run_root,
        "networks_dir": f"{places.config_dir}/networks",
    }
    if uid == 0:
        return given
    return given | {
        "cni_cache_dir": f"{places.root}/cni",
        "cni_conf_dir": f"{places.config_dir}/net.d",
        "signature_policy_dir": f"{places.config_dir}/policies",
    }
