"""`kube play` and `kube down`: the plan carried out on this machine, and undone.

    play   images → network → claims, secrets → each pod: volumes → sandbox → init containers, one
           after the other → containers.  What fails undoes its own pod and leaves the others; who
           is interrupted leaves nothing.
    down   the pods with all in them, then volumes, secrets and the network that play has made

What play makes bears the label `rundlet.kube`: the object's own name.  Claims' volumes stay, for
they are data, unless they are asked for.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from rundlet.engine.undo import Undo
from rundlet.errors import DeadlineExceeded, FailedPrecondition
from rundlet.kernel.failure import translating
from rundlet.kernel.openat2 import open_in_root
from rundlet.kube.containers import choose_pull, plan_container, plan_init_container
from rundlet.kube.documents import Document
from rundlet.kube.environment import PodView
from rundlet.kube.hostpaths import prepare_host_path
from rundlet.kube.model import PodSpec
from rundlet.kube.plan import (
    PlannedPod,
    Play,
    leave_alone,
    list_containers,
    list_templates,
    plan_play,
)
from rundlet.kube.pods import plan_pod
from rundlet.kube.volumes import PlannedFile, own_volume
from rundlet.local.machine import Machine
from rundlet.local.networkplan import NetworkRequest
from rundlet.local.options import Logging, RunOptions
from rundlet.local.volumes import VolumeRequest

NETWORK = "kube"
LABEL = "rundlet.kube"


def _as_it_is(asked: RunOptions) -> RunOptions:
    return asked


class PlaySettings(NamedTuple):
    """`networks` none: the network `kube`, which is made.  `init_timeout_s` is for each init container.

    `ips` and `macs` are for one pod each, in order.  `annotations` are further ones of all pods.  `bring` is
    called with each image before anything is made, and answers what is to be made of: it may pull it.
    """

    networks: tuple[str, ...] = ()
    start: bool = True
    replace: bool = False
    init_timeout_s: float = 600.0
    ips: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    logging: Logging = Logging()
    own_hosts: bool = False
    bring: Callable[[RunOptions], RunOptions] = _as_it_is


class Played(NamedTuple):
    """Pods with their containers' ids, by the pod's name."""

    pods: Mapping[str, tuple[str, Sequence[str]]]
    volumes: Sequence[str]
    secrets: Sequence[str]
    warnings: Sequence[str]


def play(
    machine: Machine,
    documents: Sequence[Document],
    settings: PlaySettings = PlaySettings(),  # noqa: B008 - immutable
    config_maps: Sequence[Document] = (),
) -> Played:
    """Raises what planning raises before anything is made, and then what makes one pod fail."""
    plan = plan_play(documents, config_maps, _read_kept(machine))
    if any(port.shared for pod in plan.pods for port in pod.published) and not machine.networks.shares_ports:
        warning = "node ports lead to the first pod of their service: an ordinary user's are not shared"
        plan = plan._replace(pods=tuple(leave_alone(plan.pods)), warnings=(*plan.warnings, warning))
    images = _bring_all(plan, settings)
    if settings.replace:
        down(machine, documents)
    with Undo() as undo:
        try:
            volumes = _make_surroundings(machine, plan, settings, undo)
            player = _Player(machine, plan, settings, images)
            pods = {}
            for pod, ends in zip(plan.pods, _list_ends(settings), strict=False):
                pods[pod.meta.name] = player.play(_annotate(pod, settings.annotations), ends)
                undo.add(f"remove pod {pod.meta.name}", _remove_pod, machine, pod.meta.name, pod.spec)
        except Exception:
            undo.keep()
            raise
        undo.keep()
    return Played(pods, volumes, tuple(plan.secrets), plan.warnings)


def _bring_all(plan: Play, settings: PlaySettings) -> dict[str, RunOptions]:
    """What `bring` answers, by the image as it is written."""
    containers = [container for pod in plan.pods for container, _ in list_containers(pod)]
    return {
        container.image: settings.bring(RunOptions(image=container.image, pull=choose_pull(container)))
        for container in containers
    }


def _make_surroundings(machine: Machine, plan: Play, settings: PlaySettings, undo: Undo) -> list[str]:
    """What pods need; the volumes that were made for claims."""
    if not settings.networks and plan.pods:
        undo.add("remove the network", _drop_network, machine)
        _ensure_network(machine)
    volumes = []
    for name in (claim.metadata.name for claim in plan.claims):
        if _make_claim(machine, name):
            undo.add(f"remove volume {name}", machine.volumes.remove, name)
            volumes.append(name)
    for name, values in plan.secrets.items():
        if not machine.secrets.exists(name):
            undo.add(f"remove secret {name}", machine.secrets.remove, name)
        machine.secrets.create(name, msgspec.json.encode(values), {LABEL: name}, replace=True)
    return volumes


def _annotate(pod: PlannedPod, annotations: Mapping[str, str]) -> PlannedPod:
    return pod._replace(meta=replace(pod.meta, annotations=pod.meta.annotations | dict(annotations)))


def _list_ends(settings: PlaySettings) -> Iterator[tuple[str, str]]:
    """(address, MAC address) for one pod after the other, "" where none is asked for."""
    return zip(chain(settings.ips, repeat("")), chain(settings.macs, repeat("")), strict=False)


def down(machine: Machine, documents: Sequence[Document], *, volumes: bool = False) -> list[str]:
    """Undo `play` of these documents; the names of the pods removed.  What is not there is no error.

    With `volumes` those of claims go too.
    """
    removed = []
    for template in list_templates(documents):
        name = template.meta.name
        if machine.pods.exists(name):
            removed.append(name)
        _remove_pod(machine, name, template.spec)
    for document in documents:
        _drop(machine, document, volumes=volumes)
    _drop_network(machine)
    return removed


def _remove_pod(machine: Machine, name: str, spec: PodSpec) -> None:
    """With the volumes that are its own.  Idempotent."""
    if machine.pods.exists(name):
        machine.pods.remove(name, force=True)
    for volume in filter(None, (own_volume(one, name) for one in spec.volumes)):
        if machine.volumes.exists(volume):
            machine.volumes.remove(volume)


def _drop(machine: Machine, document: Document, *, volumes: bool) -> None:
    name = document.name
    if (
        document.kind == "Secret"
        and machine.secrets.exists(name)
        and LABEL in machine.secrets.get(name).labels
    ):
        machine.secrets.remove(name)
    if document.kind == "PersistentVolumeClaim" and volumes and machine.volumes.exists(name):
        machine.volumes.remove(name)


def _ensure_network(machine: Machine) -> None:
    if not machine.networks.exists(NETWORK):
        machine.networks.create(NetworkRequest(NETWORK, labels={LABEL: NETWORK}))


def _drop_network(machine: Machine) -> None:
    """The last pod that was played takes the network with it, if `play` has made it."""
    if machine.networks.exists(NETWORK):
        network = machine.networks.get(NETWORK)
        if LABEL in network.record.labels and not network.users:
            machine.networks.remove(NETWORK)


def _make_claim(machine: Machine, name: str) -> bool:
    if machine.volumes.exists(name):
        return False
    machine.volumes.create(VolumeRequest(name, {LABEL: name}))
    return True


def _read_kept(machine: Machine) -> dict[str, dict[str, bytes]]:
    """The secrets of this machine that an earlier play has made."""
    return {
        secret.name: msgspec.json.decode(machine.secrets.read(secret.name), type=dict[str, bytes])
        for secret in machine.secrets.list()
        if LABEL in secret.labels
    }


def _name_address(ip: str) -> dict[str, str]:
    return {"ip6" if ":" in ip else "ip": ip}


class _Player:
    def __init__(
        self, machine: Machine, plan: Play, settings: PlaySettings, images: Mapping[str, RunOptions]
    ) -> None:
        """`images` have by each image's name what is to be made of it."""
        self._machine = machine
        self._plan = plan
        self._networks = settings.networks or (NETWORK,)
        self._settings = settings
        self._images = images

    def play(self, pod: PlannedPod, ends: tuple[str, str]) -> tuple[str, Sequence[str]]:
        """The pod's id and its containers'; nothing is left of it after an error.  `ends` as in `_list_ends`."""
        name = pod.meta.name
        with Undo() as undo:
            self._make_volumes(pod, undo)
            request = plan_pod(pod.meta, pod.spec, self._networks, pod.aliases, pod.published, pod.redirects)
            ip, mac = ends
            request = replace(request, network=replace(request.network, **_name_address(ip), mac=mac))
            pod_id = self._machine.pods.create(request)
            undo.add(f"remove pod {name}", self._machine.pods.remove, pod_id, force=True)
            containers = self._make_containers(pod, pod_id)
            undo.keep()
        return pod_id, containers

    def _make_volumes(self, pod: PlannedPod, undo: Undo) -> None:
        volumes = self._machine.volumes
        for volume in pod.volumes.values():
            if volume.host:
                prepare_host_path(volume.host)
                continue
            if not volumes.exists(volume.local):
                label = volume.local if volume.stays else pod.meta.name
                volumes.create(VolumeRequest(volume.local, {LABEL: label}, dict(volume.options)))
                undo.add(f"remove volume {volume.local}", volumes.remove, volume.local)
            volumes.mount(volume.local)
            group = pod.spec.security_context.fs_group
            if volume.files is not None or group is not None:
                volumes.populate(volume.local, _writer(volume.files, group))

    def _make_containers(self, pod: PlannedPod, pod_id: str) -> list[str]:
        found = self._machine.pods.get(pod_id)
        host_ip = self._find_host_ip(pod)
        meta = replace(pod.meta, uid=pod.meta.uid or pod_id[:32])
        view = PodView(meta, next(iter(found.ips), host_ip), host_ip, pod.spec.service_account_name)
        made = []
        init = {id(container) for container in pod.spec.init_containers}
        for container, what in list_containers(pod):
            asked = plan_container(
                container, pod.spec, pod.meta.name, self._plan.sources, view, pod.volumes, what
            )
            self._make_sub_paths(asked)
            if id(container) in init:
                asked = plan_init_container(asked, container)
            brought = self._images[container.image]
            asked = replace(
                asked,
                image=brought.image,
                pull=brought.pull,
                logging=self._settings.logging,
                own_hosts=self._settings.own_hosts,
            )
            made.append(self._machine.containers.create(asked))
            if id(container) in init and self._settings.start:
                self._run_init(asked, made[-1])
        if self._settings.start:
            for container_id in made[len(init) :]:
                self._machine.containers.start(container_id)
        return made

    def _run_init(self, asked: RunOptions, container_id: str) -> None:
        containers = self._machine.containers
        containers.start(container_id)
        if asked.restart.name != "no":
            return  # it stays beside the others
        code = containers.wait(container_id, self._settings.init_timeout_s)
        if code is None:
            raise DeadlineExceeded(
                f"init container {asked.name} has not ended after {self._settings.init_timeout_s:g} s"
            )
        if code:
            last = [entry.text for entry in containers.logs(container_id, tail=1)]
            raise FailedPrecondition(
                f"init container {asked.name} ended with exit code {code}" + (f": {last[-1]}" if last else "")
            )

    def _find_host_ip(self, pod: PlannedPod) -> str:
        if pod.spec.host_network:
            return ""
        subnets = self._machine.networks.get(self._networks[0]).subnets
        return subnets[0].gateway if subnets else ""

    def _make_sub_paths(self, asked: RunOptions) -> None:
        """As the kubelet: a directory that is not there in a volume is made."""
        for mount in asked.mounts:
            if mount.kind == "volume" and mount.sub_path:
                _make_inside(self._machine.volumes.locate(mount.source), mount.sub_path)


def _make_inside(directory: str, path: str) -> None:
    """Directories below one, no link of theirs followed out of it."""
    with translating(f"make {path} in {directory}"):
        at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        root = os.dup(at)
        done = ""
        try:
            for part in filter(None, path.split("/")):
                done = f"{done}/{part}" if done else part
                try:
                    below = open_in_root(root, done, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    os.mkdir(part, 0o755, dir_fd=at)
                    below = open_in_root(root, done, os.O_RDONLY | os.O_CLOEXEC)
                os.close(at)
                at = below
        finally:
            os.close(at)
            os.close(root)


def _writer(files: Mapping[str, PlannedFile] | None, group: int | None) -> Callable[[str], None]:
    """Writes a volume's files anew, and gives it to the pod's group."""

    def write(directory: str) -> None:
        for path, file in (files or {}).items():
            target = f"{directory}/{path}"
            os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
            with open(f"{target}.new", "wb") as out:
                os.fchmod(out.fileno(), file.mode)
                if group is not None:
                    os.fchown(out.fileno(), -1, group)
                out.write(file.content)
            os.rename(f"{target}.new", target)
        if group is not None:
            os.chown(directory, -1, group)
            os.chmod(directory, 0o2775)  # noqa: S103 - what fsGroup is for

    return write
