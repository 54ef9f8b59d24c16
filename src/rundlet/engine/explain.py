"""What making a pod or a container would do, without doing it: the plans' own words.

    pod         the sandbox's files and cgroup, its namespaces, the messages that connect it
    container   the layers, the writes into its cgroup, every step of its first process, the exec

Looked up, planned and described as it would be carried out; what is made on the way there
(directories, mounts of volumes) is named instead.
"""

import os
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.engine.config import PodView, build_config
from rundlet.engine.creation import bundle_path, look_up
from rundlet.engine.limits import plan_limits
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import locate_files
from rundlet.engine.podplan import choose_hostname, choose_kinds, plan_network
from rundlet.engine.process import plan_cgroup, plan_create
from rundlet.engine.records import ContainerFacts, ContainerRecord, PodFacts, PodRecord
from rundlet.errors import NotFound
from rundlet.network.rehearsal import rehearse_attach
from rundlet.plan.container import ContainerPlan
from rundlet.plan.planner import Overlay
from rundlet.spec.runtime import Seccomp
from rundlet.store.images import ImageRecord
from rundlet.store.snapshots import Snapshot


class Section(NamedTuple):
    """A part of what would be done: a title, and its steps in their order."""

    title: str
    lines: tuple[str, ...]


class Explainer:
    """Of one engine; nothing that it is asked changes anything."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def pod(self, options: PodOptions, pod_id: str) -> list[Section]:
        """The steps of `Pods.run`."""
        kinds = choose_kinds(options)
        parent = self._parts.parent_of(pod_id, options.cgroup_parent)
        limits = plan_cgroup(
            self._parts, parent, plan_limits(options.resources, (), swap_accounting=False)
        ).describe_writes()
        sandbox = (
            f"reserve the name {options.name}",
            f"make the directory {self._parts.settings.pods_dir}/{pod_id}",
            f"make cgroup {parent}",
            *limits,
            *(f"pin a new {kind} namespace" for kind in kinds),
            *(f"sysctl {name} = {value}" for name, value in options.sysctls.items()),
            *((f"hostname {choose_hostname(pod_id, options)}",) if "uts" in kinds else ()),
        )
        return [Section("pod sandbox", sandbox), *self._network(options, pod_id)]

    def _network(self, options: PodOptions, pod_id: str) -> list[Section]:
        if options.security.namespaces.network == "node":
            return [Section("network", ("the host's own",))]
        if not options.connected:
            return [Section("network", ("none but the loopback",))]
        network = self._parts.network
        wanted = plan_network(pod_id, options)
        networks = network.list_networks(wanted)
        rehearsal = rehearse_attach(network.settings, networks, wanted)
        title = f"network {', '.join(each.name for each in networks)} (netlink)"
        got = (f"address {', '.join(rehearsal.ips)}",) if rehearsal.ips else ()
        return [Section(title, (*rehearsal.lines, *got))]

    def container(
        self, pod_id: str, pod: PodOptions, options: ContainerOptions, container_id: str
    ) -> list[Section]:
        """The steps of `Containers.create` and `start` in a pod of these options.

        Raises NotFound for an image that is not here, and what `create` raises for wrong options.
        """
        image = self._parts.find_image(options.image)
        if image is None:
            raise NotFound(f"image {options.image!r} is not on this node", hint="pull it first")
        record = self._imagine_pod(pod_id, pod)
        wanted = ContainerRecord(container_id, pod_id, options, "creating", "", 0, facts=ContainerFacts())
        snapshot = self._parts.store.snapshots.foresee(container_id, image.id)
        plan, seccomp = self._plan(record, wanted, image, snapshot)
        return [
            Section("files", _describe_files(snapshot)),
            Section(f"cgroup {plan.cgroup.path}", plan.cgroup.describe_writes()),
            Section("seccomp", (_describe_seccomp(seccomp),)),
            Section("first process", tuple(plan.describe()[1:-1])),
            Section("start", (plan.process.describe(),)),
        ]

    def _imagine_pod(self, pod_id: str, options: PodOptions) -> PodRecord:
        keeper = f"{self._parts.settings.run_root}/keeper/pods/{pod_id}"
        facts = PodFacts(
            runtime_handler=self._parts.handlers.find(options.runtime_handler).name,
            hostname=choose_hostname(pod_id, options),
            cgroup_parent=self._parts.parent_of(pod_id, options.cgroup_parent),
            boot_id=self._parts.boot_id,
            namespaces={kind: f"{keeper}/{kind}" for kind in choose_kinds(options)},
        )
        return PodRecord(pod_id, options, "ready", "", 0, facts)

    def _plan(
        self, pod: PodRecord, record: ContainerRecord, image: ImageRecord, snapshot: Snapshot
    ) -> tuple[ContainerPlan, Seccomp | None]:
        options = record.options
        mounts = tuple(
            replace(
                mount,
                host_path=os.path.realpath(mount.host_path) if mount.host_path else mount.image,
                image="",
            )
            if mount.tmpfs is None
            else mount
            for mount in options.mounts
        )
        looked = look_up(self._parts, pod, record, image, snapshot.lower, list(mounts))
        files = locate_files(f"{self._parts.settings.pods_dir}/{pod.id}", pod.options)
        view = PodView(pod.id, pod.options, pod.facts.hostname, pod.facts.namespaces, files)
        config = build_config(view, looked, options, image.config.config, self._parts.host)
        overlay = Overlay(snapshot.lower, snapshot.upper, snapshot.work)
        bundle = bundle_path(self._parts, record.id)
        return plan_create(self._parts, record.id, config, bundle, overlay), looked.seccomp


def _describe_files(snapshot: Snapshot) -> tuple[str, ...]:
    lines = [f"layer {path}" for path in reversed(snapshot.lower)]
    return (*lines, f"writable layer {snapshot.upper}")


def _describe_seccomp(profile: Seccomp | None) -> str:
    if profile is None:
        return "no filter: every system call is allowed"
    rules = profile.syscalls or []
    named = {name for rule in rules if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}
    checked = sum(1 for rule in rules if rule.args)
    default = profile.default_action.removeprefix("SCMP_ACT_").lower()
    return f"{len(named)} system calls allowed, {checked} rules look at arguments, all others: {default}"
