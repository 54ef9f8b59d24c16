"""Checks of rundletd with the systemd driver, called as a kubelet with that driver calls it."""

import json
import os
from pathlib import Path

from node import Caller, publish_busybox, start_daemon

from rundlet.cgroup.files import read_text
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.systemd import Manager, SystemdSlice
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument, NotFound
from rundlet.registry.server import RegistryServer

MIB = 1 << 20
BASE = Path("/run/kubelet-check")
GROUPS = "/sys/fs/cgroup"
POD = "kubepods-burstable-pod{}.slice"
POD_PATH = "/kubepods.slice/kubepods-burstable.slice/{}"
RESOURCES = {"memory_limit_in_bytes": 64 * MIB, "cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000}
SHARED = {"namespace_options": {"network": api.NODE, "pid": api.POD}}


class Node:
    """The daemon, its image and a caller; made at the first use, gone with the guest."""

    caller = None

    @classmethod
    def call(cls):
        if cls.caller is None:
            BASE.mkdir()
            (BASE / "config.toml").write_text('cgroup_driver = "systemd"\n')
            server = RegistryServer(str(BASE / "registry"))
            server.start()
            image = publish_busybox(server.address, BASE)
            daemon = start_daemon(BASE, "--config", str(BASE / "config.toml"))
            cls.caller = Caller(Client(daemon.endpoint, connect_timeout_s=30), image, BASE / "logs")
            cls.caller.PullImage(image={"image": image})
        return cls.caller


def read(path, file):
    return read_text(f"{GROUPS}{path}/{file}").strip()


def ask(unit, name, interface="Scope"):
    """A property of a unit; "gone" when systemd does not know it."""
    try:
        with Manager() as manager:
            return manager.read_property(unit, interface, name)
    except NotFound:
        return "gone"


def run_pod(parent, **linux):
    linux = {"cgroup_parent": parent, "security_context": SHARED, **linux}
    return Node.call().run_pod(linux=api.LinuxPodSandboxConfig(**linux))


def start(pod, **more):
    return Node.call().start(pod, "sleep", "1000", linux={"resources": RESOURCES}, **more)


def pid_of(container):
    answer = Node.call().ContainerStatus(container_id=container, verbose=True)
    return json.loads(answer.info["info"])["pid"]


def expect(path, unit, pid, weight=59):
    """A container's limits in its files, and with systemd, which writes the files again when it reloads."""
    assert read_text(f"/proc/{pid}/cgroup") == f"0::{path}\n"
    wanted = {"memory.max": str(64 * MIB), "cpu.weight": str(weight), "cpu.max": "50000 100000"}
    assert {file: read(path, file) for file in wanted} == wanted
    assert (ask(unit, "MemoryMax"), ask(unit, "CPUWeight")) == (64 * MIB, weight)
    with Manager() as manager:
        manager._call("Reload")
    assert {file: read(path, file) for file in wanted} == wanted


def live(parent, path, handler="", weight=59):
    """A pod with a container in it, from nothing to nothing but for what was there before."""
    caller = Node.call()
    config = caller.pod_config(linux={"cgroup_parent": parent, "security_context": SHARED})
    pod = caller.RunPodSandbox(config=config, runtime_handler=handler).pod_sandbox_id
    assert ask(f"rundlet-{pod}.scope", "ActiveState", "Unit") == "active"
    container = start(pod)
    unit = f"rundlet-{container}.scope"
    expect(f"{path}/{unit}", unit, pid_of(container), weight)
    update = {**RESOURCES, "memory_limit_in_bytes": 80 * MIB}
    caller.UpdateContainerResources(container_id=container, linux=update)
    assert (read(f"{path}/{unit}", "memory.max"), ask(unit, "MemoryMax")) == (str(80 * MIB), 80 * MIB)
    stats = caller.ContainerStats(container_id=container).stats
    assert stats.memory.working_set_bytes.value > 0, stats
    has_pressure = os.path.exists(f"{GROUPS}{path}/{unit}/cpu.pressure")
    assert [stats.cpu.HasField("psi"), stats.memory.HasField("psi"), stats.HasField("io")] == [
        has_pressure
    ] * 3
    caller.StopContainer(container_id=container, timeout=0)
    caller.RemoveContainer(container_id=container)
    assert ask(unit, "ActiveState", "Unit") == "gone"
    caller.StopPodSandbox(pod_sandbox_id=pod)
    caller.RemovePodSandbox(pod_sandbox_id=pod)
    assert ask(f"rundlet-{pod}.scope", "ActiveState", "Unit") == "gone"


def check_kubelet_is_told_the_driver():
    assert Node.call().RuntimeConfig().linux.cgroup_driver == api.SYSTEMD


def check_a_slice_that_kubelet_made_stays():
    name = POD.format("1")
    path = POD_PATH.format(name)
    made = SystemdSlice(detect_layout(), path)
    made.make()
    live(name, path)
    live(path, path)
    assert ask(name, "ActiveState", "Unit") == "active"
    assert made.exists()
    made.remove()


def check_a_slice_that_nobody_made_comes_and_goes():
    live("batch-pod2.slice", "/batch.slice/batch-pod2.slice")
    assert not os.path.exists(f"{GROUPS}/batch.slice")
    assert ask("batch-pod2.slice", "ActiveState", "Unit") in ("gone", "inactive")


def check_the_slice_of_a_pod_without_a_parent():
    caller = Node.call()
    pod = run_pod("", resources=api.LinuxContainerResources(memory_limit_in_bytes=96 * MIB))
    path = f"/rundlet.slice/rundlet-pod_{pod}.slice"
    assert read(path, "memory.max") == str(96 * MIB)
    assert ask(f"rundlet-pod_{pod}.slice", "MemoryMax", "Slice") == 96 * MIB
    container = start(pod)
    expect(f"{path}/rundlet-{container}.scope", f"rundlet-{container}.scope", pid_of(container))
    caller.RemovePodSandbox(pod_sandbox_id=pod)
    assert not os.path.exists(f"{GROUPS}/rundlet.slice")


def check_a_path_stays_a_path():
    caller = Node.call()
    pod = run_pod("/kubepods/pod3")
    container = start(pod)
    assert read(f"/kubepods/pod3/{container}", "memory.max") == str(64 * MIB)
    caller.RemovePodSandbox(pod_sandbox_id=pod)
    assert not os.path.exists(f"{GROUPS}/kubepods")


def check_a_path_that_is_not_the_slices_own_is_refused():
    try:
        run_pod(f"/elsewhere.slice/{POD.format('4')}")
    except InvalidArgument as error:
        assert POD_PATH.format(POD.format("4")) in str(error), error
        return
    raise AssertionError("the pod was made")


def check_containers_of_runc():
    name = POD.format("5")
    live(name, POD_PATH.format(name), "runc", weight=20)  # runc 1.1 has another curve for shares
