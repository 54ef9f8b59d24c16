"""What clients ask of an engine, call by call: together the scenes pass every step that has a name."""

import shutil
from collections.abc import Callable
from typing import NamedTuple

from rundlet.engine.engine import Engine
from rundlet.engine.idmap import read_abilities
from rundlet.engine.options import (
    ContainerOptions,
    IdMapping,
    Mount,
    Namespaces,
    PodOptions,
    PortMapping,
    Security,
    SecurityProfile,
)
from rundlet.errors import FailedPrecondition, NotFound
from tests.crash.engine_process import Act, Ids

IMAGE = "busybox:latest"
# By SIGHUP; and unknown, as nobody was there to hear of it.
_HUNG_UP = (129, 255)
_MAPS = (IdMapping(0, 200000, 65536),)
_USER = Namespaces(user="pod", uid_mappings=_MAPS, gid_mappings=_MAPS)


class Scene(NamedTuple):
    """Calls that leave nothing when all are done; `missing` names what the host lacks for them.

    `parts` are for workers to share.  A scene that `reopens` is over when the store has been opened
    again: what a bad disk keeps of removed images goes then.
    """

    name: str
    acts: tuple[Act, ...]
    parts: int = 1
    missing: Callable[[str], str] = lambda _root: ""
    reopens: bool = False


def _image(ids: Ids) -> str:
    return f"{ids['registry']}/{IMAGE}"


def _options(ids: Ids, **fields: object) -> ContainerOptions:
    fixed = {"name": "c", "image": _image(ids), "command": ("sleep", "1000"), "log_path": "c.log"}
    return ContainerOptions(**(fixed | fields))


# -- a pod with all that a pod can share --------------------------------------------------


def run_pod(engine: Engine, ids: Ids) -> Ids:
    security = Security(namespaces=Namespaces(pid="pod"))
    ports = (PortMapping(80, 18080),)
    options = PodOptions("p", "u", "n", log_directory=ids["logs"], security=security, port_mappings=ports)
    return {"pod": engine.pods.run(options)}


def create(engine: Engine, ids: Ids) -> Ids:
    security = Security(
        namespaces=Namespaces(pid="pod"),
        readonly_rootfs=True,
        no_new_privileges=True,
        seccomp=SecurityProfile("runtime-default"),
        masked_paths=("/proc/kcore",),
        readonly_paths=("/proc/sys",),
    )
    mounts = (Mount("/image", image=_image(ids), readonly=True),)
    return {"c": engine.containers.create(ids["pod"], _options(ids, security=security, mounts=mounts))}


def start(engine: Engine, ids: Ids) -> Ids:
    """As a kubelet: when a start has failed and the container ended by that, another one takes its place."""
    if engine.containers.status(ids["c"]).state == "exited":
        options = engine.containers.status(ids["c"]).options
        engine.containers.remove(ids["c"])
        ids = {"c": engine.containers.create(ids["pod"], options)}
    engine.containers.start(ids["c"])
    assert engine.containers.status(ids["c"]).state == "running"
    return {"c": ids["c"]}


def execute(engine: Engine, ids: Ids) -> None:
    result = engine.containers.exec_sync(ids["c"], ["echo", "done"], 20)
    assert (result.stdout, result.exit_code) == (b"done\n", 0)


def stop(engine: Engine, ids: Ids) -> None:
    engine.containers.stop(ids["c"], 0)
    assert engine.containers.status(ids["c"]).state == "exited"


def remove(engine: Engine, ids: Ids) -> None:
    engine.containers.remove(ids["c"])
    assert not engine.containers.list()


def stop_pod(engine: Engine, ids: Ids) -> None:
    engine.pods.stop(ids["pod"])
    assert engine.pods.status(ids["pod"]).state == "notready"


def remove_pod(engine: Engine, ids: Ids) -> None:
    engine.pods.remove(ids["pod"])
    assert not engine.pods.list()


# -- a terminal -----------------------------------------------------------------------------


def run_plain_pod(engine: Engine, ids: Ids) -> Ids:
    return {"pod": engine.pods.run(PodOptions("p", "u", "n", log_directory=ids["logs"]))}


def create_with_terminal(engine: Engine, ids: Ids) -> Ids:
    return {"c": engine.containers.create(ids["pod"], _options(ids, tty=True, stdin=True))}


def start_with_terminal(engine: Engine, ids: Ids) -> Ids:
    """A keeper of which both halves are killed takes the terminal along: `hung_up` says what that did."""
    try:
        return start(engine, ids)
    except (AssertionError, FailedPrecondition, NotFound):
        status = engine.containers.status(ids["c"])
        if status.state != "exited" or status.exit_code not in _HUNG_UP:
            raise
        return start(engine, ids) | {"hung_up": f"exit code {status.exit_code}"}


def stop_with_terminal(engine: Engine, ids: Ids) -> Ids:
    """Where it has ended before, `hung_up` says that nobody asked for that."""
    status = engine.containers.status(ids["c"])
    engine.containers.stop(ids["c"], 0)
    assert engine.containers.status(ids["c"]).state == "exited"
    hung_up = status.state == "exited" and status.exit_code in _HUNG_UP
    return {"hung_up": f"exit code {status.exit_code}"} if hung_up else {}


# -- a pod with a user namespace ------------------------------------------------------------


def run_user_pod(engine: Engine, ids: Ids) -> Ids:
    options = PodOptions("p", "u", "n", log_directory=ids["logs"], security=Security(namespaces=_USER))
    return {"pod": engine.pods.run(options)}


def create_in_user_pod(engine: Engine, ids: Ids) -> Ids:
    """With a volume whose layers get the owners that the mapping says."""
    mounts = (Mount("/image", image=_image(ids), readonly=True),)
    options = _options(ids, security=Security(namespaces=_USER), stdin=True, mounts=mounts)
    return {"c": engine.containers.create(ids["pod"], options)}


# -- a pod whose containers another runtime makes -------------------------------------------


def run_runc_pod(engine: Engine, ids: Ids) -> Ids:
    return {"pod": engine.pods.run(PodOptions("p", "u", "n", runtime_handler="runc"))}


def run_crun_pod(engine: Engine, ids: Ids) -> Ids:
    return {"pod": engine.pods.run(PodOptions("p", "u", "n", runtime_handler="crun"))}


def run_bwrap_pod(engine: Engine, ids: Ids) -> Ids:
    return {"pod": engine.pods.run(PodOptions("p", "u", "n", runtime_handler="bwrap"))}


def create_plain(engine: Engine, ids: Ids) -> Ids:
    return {"c": engine.containers.create(ids["pod"], _options(ids, log_path=""))}


# -- images ---------------------------------------------------------------------------------


def pull_busybox(engine: Engine, ids: Ids) -> None:
    engine.images.pull(_image(ids))


def pull(engine: Engine, ids: Ids) -> None:
    engine.images.pull(f"{ids['registry']}/other:latest", deadline_s=30)
    assert len(engine.images.list(f"{ids['registry']}/other:latest")) == 1


def remove_image(engine: Engine, ids: Ids) -> None:
    engine.images.remove(f"{ids['registry']}/other:latest")
    assert not engine.images.list(f"{ids['registry']}/other:latest")


_LIFE = (create, start, execute, stop, remove, stop_pod, remove_pod)
_PLAIN_LIFE = (create_plain, *_LIFE[1:])


def _lacks_idmap(root: str) -> str:
    return "" if read_abilities([root], (99, 0)).idmap else f"idmapped mounts of {root}"


def _lacks(program: str) -> Callable[[str], str]:
    return lambda _root: "" if shutil.which(program) else program


SCENES = (
    Scene("pod", (run_pod, *_LIFE), parts=4),
    Scene("image", (pull, remove_image), parts=2, reopens=True),
    Scene(
        "terminal",
        (run_plain_pod, create_with_terminal, start_with_terminal, stop_with_terminal, remove_pod),
        2,
    ),
    # This pod is removed while its container runs.
    Scene("user-pod", (run_user_pod, create_in_user_pod, start, execute, remove_pod), 2, _lacks_idmap),
    Scene("runc", (run_runc_pod, *_PLAIN_LIFE), missing=_lacks("runc")),
    Scene("crun", (run_crun_pod, *_PLAIN_LIFE), missing=_lacks("crun")),
    Scene("bwrap", (run_bwrap_pod, *_PLAIN_LIFE), missing=_lacks("bwrap")),
)


def find_scene(name: str) -> Scene:
    return next(scene for scene in SCENES if scene.name == name)
