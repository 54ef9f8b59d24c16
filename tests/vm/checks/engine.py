"""The engine on a kernel that criu knows and that has AppArmor."""

import json
import os
import subprocess
import tarfile
import time
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import (
    Capabilities,
    ContainerOptions,
    PodOptions,
    Resources,
    Security,
    SecurityProfile,
)
from rundlet.engine.settings import Settings
from rundlet.errors import Error, InvalidArgument
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer

BASE = "/tmp/engine"
COUNT = "i=0; while true; do i=$((i+1)); echo $i; echo $i > /last; sleep 0.05; done"
IPAM = {"type": "host-local", "dataDir": f"{BASE}/leases", "ranges": [[{"subnet": "10.88.0.0/16"}]]}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": IPAM}
NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE]}
SETTINGS = Settings(
    root=f"{BASE}/root",
    run_root="/run/engine",
    cni_conf_dir=f"{BASE}/net.d",
    cni_cache_dir=f"{BASE}/cni",
    default_cgroup_parent="/engine",
    checkpoints="checkpoint_restore",
)
_made = []


def engine_with_image():
    """(engine, image): made once for all checks."""
    if not _made:
        os.makedirs(SETTINGS.cni_conf_dir)
        with open(f"{SETTINGS.cni_conf_dir}/10-pods.conflist", "w") as file:
            json.dump(NETWORK, file)
        layout = Layout(f"{BASE}/layout")
        build_host_image(["busybox"], layout, "busybox", cmd=["busybox", "sleep", "1000"])
        server = RegistryServer(f"{BASE}/registry")
        server.start()
        client = RegistryClient()
        image = f"{server.address}/busybox:1"
        push_image(layout, "busybox", client, image)
        engine = Engine(SETTINGS)
        engine.images.pull(image)
        _made.extend((engine, image))
    return _made


class Pod:
    """A pod with logs that is removed at the end."""

    def __init__(self, name, **fields):
        self.engine, self.image = engine_with_image()
        self.id = self.engine.pods.run(PodOptions(name, log_directory=f"{BASE}/logs/{name}", **fields))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.pods.remove(self.id)

    def create(self, *command, **fields):
        options = ContainerOptions(
            **{"name": "c", "image": self.image, "command": command, "log_path": "c.log"} | fields
        )
        return self.engine.containers.create(self.id, options)

    def start(self, *command, **fields):
        container = self.create(*command, **fields)
        self.engine.containers.start(container)
        return container

    def shell(self, script, **fields):
        return self.start("busybox", "sh", "-c", script, **fields)

    def run(self, container, *argv):
        return self.engine.containers.exec_sync(container, ("busybox", *argv), 20)

    def await_exit(self, container):
        deadline = time.monotonic() + 20
        while (status := self.engine.containers.status(container)).state != "exited":
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return status

    def numbers(self, container):
        """What a counter has said so far."""
        with suppress(FileNotFoundError), open(self.engine.containers.status(container).log_path) as file:
            return [int(line.split()[-1]) for line in file]
        return []

    def await_number(self, container, wanted):
        deadline = time.monotonic() + 20
        while (self.numbers(container) or [0])[-1] < wanted:
            assert time.monotonic() < deadline, self.numbers(container)
            time.sleep(0.05)


def check_a_container_over_its_memory_is_told():
    with Pod("oom") as pod:
        limits = Resources(memory_limit_bytes=16 << 20, memory_swap_limit_bytes=16 << 20)
        container = pod.start(
            "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=30M", "count=1", resources=limits
        )
        status = pod.await_exit(container)
        assert (status.reason, status.exit_code) == ("OOMKilled", 137), status


def check_a_checkpoint_is_whole_and_the_container_runs_on():
    location = f"{BASE}/checkpoint.tar"
    with Pod("dump") as pod:
        container = pod.shell(COUNT)
        pod.await_number(container, 5)
        try:
            pod.engine.containers.checkpoint(container, location)
        except Error:
            print_logs(f"{BASE}/root/checkpoints")
            raise
        pod.await_number(container, pod.numbers(container)[-1] + 5)
        with tarfile.open(location) as archive:
            names = set(archive.getnames())
            dump = json.load(archive.extractfile("config.dump"))
        assert {
            "checkpoint/inventory.img",
            "spec.dump",
            "rootfs-diff.tar",
            "container.log",
            "dump.log",
        } <= names, names
        assert (dump["id"], dump["name"]) == (container, "c")


def check_a_container_goes_on_in_another_pod():
    """With its memory, its files, its limits and its log."""
    location = f"{BASE}/moved.tar"
    with Pod("from") as pod:
        container = pod.shell(f"busybox rm /etc/group; {COUNT}")
        pod.await_number(container, 5)
        pod.engine.containers.checkpoint(container, location)
        pod.engine.containers.stop(container, 0)
    with Pod("to") as pod:
        container = pod.create(image=location, resources=Resources(memory_limit_bytes=64 << 20))
        assert pod.engine.containers.status(container).state == "created"
        restart_engine(pod)
        said = pod.numbers(container)
        try:
            pod.engine.containers.start(container)
        except Error:
            print_logs(f"{BASE}/root/checkpoints")
            raise
        pod.await_number(container, said[-1] + 5)
        numbers = pod.numbers(container)
        assert numbers[len(said)] == said[-1] + 1, (said, numbers)
        status = pod.engine.containers.status(container)
        assert (status.state, status.image_id) == ("running", pod.engine.images.status(pod.image).id)
        assert int(pod.run(container, "cat", "/last").stdout) > said[-1]
        assert pod.run(container, "ls", "/etc/group").exit_code != 0
        assert pod.run(container, "cat", "/sys/fs/cgroup/memory.max").stdout == b"%d\n" % (64 << 20)
        assert (
            os.stat(f"/proc/{status.pid}/ns/net").st_ino
            == os.stat(pod.engine.pods.status(pod.id).netns_path).st_ino
        )
        pod.engine.containers.stop(container, 0)
        assert pod.engine.containers.status(container).exit_code == 137
    assert os.listdir(f"{BASE}/root/checkpoints") == []


def restart_engine(pod):
    """A daemon's restart between create and start."""
    pod.engine.close()
    _made[0] = pod.engine = Engine(SETTINGS)


def print_logs(directory):
    for base, _, names in os.walk(directory):
        for name in names:
            if name.endswith(".log"):
                with open(f"{base}/{name}") as file:
                    print("---", name, *(line for line in file if "rror" in line or "arn" in line))


ADMIN = Security(capabilities=Capabilities(add=("SYS_ADMIN",)))
MINE = "profile mine flags=(attach_disconnected) { file, capability, network, signal, deny /secret/** rw, }"


def check_the_default_apparmor_profile_is_enforced():
    with Pod("apparmor") as pod:
        container = pod.shell("sleep 1000", security=ADMIN)
        assert pod.run(container, "cat", "/proc/self/attr/current").stdout == b"rundlet-default (enforce)\n"
        assert pod.run(container, "mount", "-t", "tmpfs", "tmpfs", "/tmp").exit_code != 0
        assert pod.run(container, "sh", "-c", "echo hi > /tmp/x; cat /tmp/x; kill -0 1").stdout == b"hi\n"
        unconfined = replace(ADMIN, apparmor=SecurityProfile("unconfined"))
        free = pod.shell("sleep 1000", name="free", security=unconfined)
        assert pod.run(free, "cat", "/proc/self/attr/current").stdout == b"unconfined\n"
        assert pod.run(free, "mount", "-t", "tmpfs", "tmpfs", "/tmp").exit_code == 0


def check_a_profile_of_the_host():
    mine = Security(apparmor=SecurityProfile("localhost", "mine"))
    with Pod("mine") as pod:
        with raises(InvalidArgument, "not loaded"):
            pod.shell("sleep 1000", security=mine)
        subprocess.run(["apparmor_parser", "-rqT"], input=MINE.encode(), check=True)
        container = pod.shell("busybox mkdir /secret; sleep 1000", security=mine)
        assert pod.run(container, "cat", "/proc/self/attr/current").stdout == b"mine (enforce)\n"
        assert pod.run(container, "touch", "/secret/x").exit_code != 0
        assert pod.run(container, "touch", "/open").exit_code == 0


@contextmanager
def raises(kind, text):
    try:
        yield
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")
