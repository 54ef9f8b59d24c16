"""podman's options that are refused here, each with the reason: none is taken and then forgotten.

An option is refused as a whole, or all of its values but one are.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click

from rundlet.errors import Unimplemented


class Refused(NamedTuple):
    """`names` are its spellings; `takes_value`: the word after it is its value."""

    names: str
    verbs: tuple[str, ...]
    reason: str
    hint: str = ""
    takes_value: bool = True


_MAKERS = ("run", "create")
_POD = ("pod create",)
_PLAY = ("kube play",)
REFUSED = (
    Refused("-a --attach", ("create",), "who starts it says what to attach to", "rundlet start --attach"),
    Refused("--build", _PLAY, "images are not built here", takes_value=False),
    Refused("--cert-dir", _PLAY, "certificates lie in certs.d", "registry_certs_dir in rundlet.toml"),
    Refused("--chrootdirs", _MAKERS, "only the container's own root gets its /etc files"),
    Refused("--conmon-pidfile", _MAKERS, "there is no conmon", "--pidfile has the container's own process"),
    Refused("--context-dir", _PLAY, "images are not built here"),
    Refused("--device", _POD, "devices are containers'", "rundlet run --pod POD --device …"),
    Refused("--exit-policy", _POD, "a pod stays when its last container has ended"),
    Refused("-f --format", ("commit",), "the image has the form of the container's own image"),
    Refused("--gpus", _MAKERS, "Docker's word", "--device takes CDI names: --device nvidia.com/gpu=all"),
    Refused("--hostuser", _MAKERS, "users of the host are not copied", "--user NUMBER gets a passwd line"),
    Refused("--history", ("images",), "earlier names of an image are not kept", takes_value=False),
    Refused("--include-volumes", ("commit",), "volumes are no part of an image", takes_value=False),
    Refused("--infra-command", _POD, "a pod needs no process of its own"),
    Refused("--infra-conmon-pidfile", _POD, "a pod needs no process of its own"),
    Refused("--infra-image", _POD, "a pod needs no process of its own"),
    Refused("--infra-name", _POD, "a pod needs no process of its own"),
    Refused("--init-ctr", ("create",), "a pod's containers all stay", "kube play knows initContainers"),
    Refused("--init-path", _MAKERS, "--init is part of this program, no file"),
    Refused("--no-hosts", _POD, "each container says so", "rundlet run --pod POD --no-hosts …", False),
    Refused("--passwd-entry", _MAKERS, "the line that --passwd adds has a form of its own"),
    Refused("--preserve-fds", ("run", "exec"), "the process is not this program's child", "--volume, or -i"),
    Refused(
        "--rootfs", _MAKERS, "a container is made from an image", "rundlet image from-dir makes one", False
    ),
    Refused("--seccomp-profile-root", _PLAY, "localhostProfile is an absolute path here"),
    Refused("--security-opt", _POD, "confinement is containers'", "rundlet run --pod POD --security-opt …"),
    Refused("--share-parent", _POD, "the containers' cgroups are always in the pod's", takes_value=False),
    Refused("-s --squash", ("commit",), "the layers are those of the container's image", takes_value=False),
    Refused("--subgidname", (*_MAKERS, *_POD), "ranges are named by numbers", "--gidmap"),
    Refused("--subuidname", (*_MAKERS, *_POD), "ranges are named by numbers", "--uidmap"),
    Refused("--userns", _PLAY, "pods of a file have the ids of the machine"),
    Refused("--userns", _POD, "its ids are written out", "--uidmap and --gidmap"),
    Refused("-v --volume", _POD, "mounts are containers'", "rundlet run --pod POD --volume …"),
    Refused("--volumes-from", _POD, "mounts are containers'", "rundlet run --pod POD --volumes-from …"),
)


class OnlyValue(NamedTuple):
    """Of an option of which one value means something here."""

    values: tuple[str, ...]
    reason: str


ONLY = {
    "--cgroups": OnlyValue(("enabled",), "each container has a cgroup of its own"),
    "--sdnotify": OnlyValue(("ignore",), "nothing is told to systemd"),
    "--seccomp-policy": OnlyValue(("default",), "images' labels choose no profile"),
    "--systemd": OnlyValue(("false",), "nothing is arranged for a systemd in the container"),
}


def check_only_value(given: Mapping[str, Any]) -> None:
    """Raises Unimplemented for the values that podman has and this program has not."""
    for option, only in ONLY.items():
        value = given[option[2:].replace("-", "_")]
        if value not in only.values:
            raise Unimplemented(
                f"{option} {value}: not supported: {only.reason}", hint=f"{option} {only.values[0]} is"
            )


def refusing(verb: str) -> Callable[[Any], Any]:
    """A decorator that has a command refuse what podman's verb has besides."""

    def decorate(command: Any) -> Any:
        for one in REFUSED:
            if verb in one.verbs:
                command = _declare(one)(command)
        return command

    return decorate


def _declare(one: Refused) -> Callable[[Any], Any]:
    def refuse(_ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value:
            raise Unimplemented(f"{one.names.split()[-1]}: not supported: {one.reason}", hint=one.hint)

    settings: dict[str, Any] = {"metavar": "VALUE"} if one.takes_value else {"is_flag": True}
    return click.option(*one.names.split(), expose_value=False, hidden=True, callback=refuse, **settings)
