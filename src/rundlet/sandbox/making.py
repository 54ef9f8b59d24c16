"""Making sandboxes, with the engine at hand (`Machine.apply`).

What a killed process leaves of its sandboxes goes with the next one's start.
"""

import io
import os
import threading
from typing import NamedTuple

from rundlet.engine.engine import Engine
from rundlet.engine.names import is_alive, new_id, process_identity
from rundlet.engine.options import PodFilter
from rundlet.engine.undo import Undo, attempt
from rundlet.kernel.failure import translating
from rundlet.kernel.namespace import list_mapped
from rundlet.local.copying import pack_path, unpack_into
from rundlet.local.images import find_or_pull
from rundlet.local.options import RunOptions
from rundlet.runtime.pause import build_program
from rundlet.sandbox.limits import find_unkept
from rundlet.sandbox.plan import (
    OWNER_LABEL,
    WORK,
    Identity,
    SandboxOptions,
    choose_ids,
    plan_container,
    plan_pod,
)


class Made(NamedTuple):
    """`user_id` runs its calls; `unkept` are the limits that nothing keeps here."""

    pod_id: str
    container_id: str
    image_id: str
    user_id: int
    unkept: tuple[str, ...]


def make_sandbox(
    engine: Engine, root: str, options: SandboxOptions, image_id: str = "", work: bytes = b""
) -> Made:
    """One that is ready for calls; `image_id` and `work` are a snapshot's.  `root` is where the store is."""
    taken = remove_abandoned(engine)
    chosen = image_id or find_or_pull(engine, RunOptions(image=options.image)).id
    pod_id = new_id()
    ids = choose_ids(taken, int(pod_id[:8], 16), list_mapped("uid_map"), list_mapped("gid_map"))
    identity = Identity(pod_id, process_identity(os.getpid()), ids, engine.controllers)
    with Undo() as undo:
        undo.add(f"remove sandbox {pod_id[:12]}", engine.pods.remove, pod_id)
        engine.pods.run(plan_pod(options, identity), pod_id)
        pause = write_pause(root)
        container_id = engine.containers.create(pod_id, plan_container(options, identity, chosen, pause))
        engine.containers.start(container_id)
        if work:
            unpack_into(engine, container_id, WORK, io.BytesIO(work), uid=ids.user_id, gid=ids.user_id)
        undo.keep()
    return Made(pod_id, container_id, chosen, ids.user_id, find_unkept(engine.controllers))


def pack_work(engine: Engine, container_id: str) -> bytes:
    """What lies in its work directory, as a tar."""
    work = io.BytesIO()
    pack_path(engine, container_id, WORK, work, contents=True)
    return work.getvalue()


def remove_abandoned(engine: Engine) -> set[int]:
    """Remove the sandboxes of processes that died; the first host ids of those that are there."""
    taken = set()
    for pod in engine.pods.list(PodFilter(origin="local")):
        owner = pod.options.labels.get(OWNER_LABEL)
        if owner is None:
            continue
        if is_alive(owner):
            taken.add(pod.options.security.namespaces.uid_mappings[0].host_id)
        else:
            attempt(f"remove the sandbox {pod.id[:12]} of a process that died", engine.pods.remove, pod.id)
    return taken


def write_pause(root: str) -> str:
    """The program that waits in every sandbox; the file that is there already, as a rule."""
    path = f"{root}/sandbox/pause"
    program = build_program(os.uname().machine)
    with translating(f"write {path}"):
        try:
            if os.stat(path).st_size == len(program):
                return path
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        fresh = f"{path}.{os.getpid()}.{threading.get_native_id()}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755), "wb") as file:
            os.fchmod(file.fileno(), 0o755)
            file.write(program)
        os.rename(fresh, path)
    return path
