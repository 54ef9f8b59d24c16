"""Where this host keeps what it knows of registries: the files' names, by user and environment.

                root and users                                     a user's own
registries.conf /etc/containers/registries.conf, …conf.d/*.conf    ~/.config/containers/…
auth.json       ${XDG_RUNTIME_DIR}/containers/auth.json            ~/.config/containers, ~/.docker
certs.d         /etc/containers/certs.d, /etc/docker/certs.d       ~/.config/containers/certs.d
policy.json     /etc/containers/policy.json                        ~/.config/containers/policy.json
registries.d    /etc/containers/registries.d                       ~/.config/containers/registries.d
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from rundlet.kernel.namespace import outer_uid

_SYSTEM = "/etc/containers"


class AuthPlace(NamedTuple):
    """`legacy`: the format of ~/.dockercfg."""

    path: str
    legacy: bool = False


class Places(NamedTuple):
    """The files of one user; the first of `auth` is the one that a log-in writes.

    `registries_conf_named`: somebody chose the file, so it must be there.
    """

    registries_conf: str
    registries_conf_named: bool
    registries_conf_dirs: tuple[str, ...]
    short_name_aliases: str
    auth: tuple[AuthPlace, ...]
    certs_dirs: tuple[str, ...]
    policies: tuple[str, ...]
    registries_d: tuple[str, ...]
    lookaside_dir: str


def find_places(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Places:
    """The places of this process; of another with its environment and user id."""
    environ = os.environ if environ is None else environ
    uid = outer_uid() if uid is None else uid
    home = environ.get("HOME") or os.path.expanduser("~")
    own = f"{home}/.config/containers"
    named = environ.get("CONTAINERS_REGISTRIES_CONF") or environ.get("REGISTRIES_CONFIG_PATH") or ""
    personal = not named and os.path.exists(f"{own}/registries.conf")
    own_drop_ins, drop_ins = f"{own}/registries.conf.d", f"{_SYSTEM}/registries.conf.d"
    return Places(
        registries_conf=named or f"{own if personal else _SYSTEM}/registries.conf",
        registries_conf_named=bool(named),
        registries_conf_dirs=(own_drop_ins,) if personal else (drop_ins, own_drop_ins),
        short_name_aliases=_find_alias_cache(uid, home),
        auth=_find_auth(environ, uid, home),
        certs_dirs=(f"{own}/certs.d", f"{_SYSTEM}/certs.d", "/etc/docker/certs.d"),
        policies=(f"{own}/policy.json", f"{_SYSTEM}/policy.json"),
        registries_d=(f"{own}/registries.d", f"{_SYSTEM}/registries.d"),
        lookaside_dir=_find_lookaside(uid, home),
    )


def _find_alias_cache(uid: int, home: str) -> str:
    directory = f"{home}/.cache" if uid else "/var/cache"
    return f"{directory}/containers/short-name-aliases.conf"


def _find_lookaside(uid: int, home: str) -> str:
    return f"{home}/.local/share/containers/sigstore" if uid else "/var/lib/containers/sigstore"


def _find_auth(environ: Mapping[str, str], uid: int, home: str) -> tuple[AuthPlace, ...]:
    """An explicit REGISTRY_AUTH_FILE stands alone."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return (AuthPlace(named),)
    runtime_dir = environ.get("XDG_RUNTIME_DIR")
    primary = f"{runtime_dir}/containers" if runtime_dir else f"/run/containers/{uid}"
    config_dir = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    docker_dir = environ.get("DOCKER_CONFIG") or f"{home}/.docker"
    return (
        AuthPlace(f"{primary}/auth.json"),
        AuthPlace(f"{config_dir}/containers/auth.json"),
        AuthPlace(f"{docker_dir}/config.json"),
        AuthPlace(f"{home}/.dockercfg", legacy=True),
    )
