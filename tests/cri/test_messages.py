"""What the engine answers, as the kubelet reads it."""

import pytest
from msgspec.structs import replace

from rundlet.cgroup.pressure import Pressure, Stall
from rundlet.cri import messages
from rundlet.cri.proto import api_pb2 as api
from rundlet.engine import status
from rundlet.engine.options import ContainerOptions, Mount, Namespaces, PodOptions, Resources, Security
from rundlet.spec.image import ExecutionConfig, ImageConfig, RootFs
from rundlet.store.images import ImageRecord

POD = status.PodStatus(
    id="a" * 64,
    options=PodOptions(
        name="web",
        uid="u",
        namespace="shop",
        attempt=2,
        labels={"app": "web"},
        annotations={"note": "été"},
        security=Security(namespaces=Namespaces(network="pod", pid="container", ipc="node")),
    ),
    state="ready",
    created_at_ns=5,
    ips=("10.88.0.2", "fd00::2"),
    netns_path="/run/rundlet/pods/a/net",
    runtime_handler="rundlet",
)
CONTAINER = status.ContainerStatus(
    id="b" * 64,
    pod_id=POD.id,
    options=ContainerOptions(
        name="redis",
        image="redis:alpine",
        user_image="redis",
        mounts=(Mount(container_path="/data", host_path="/srv", readonly=True),),
        resources=Resources(memory_limit_bytes=1 << 20),
    ),
    state="exited",
    created_at_ns=1,
    started_at_ns=2,
    finished_at_ns=3,
    exit_code=137,
    reason="OOMKilled",
    message="",
    image_id="sha256:" + "c" * 64,
    image_ref="docker.io/library/redis@sha256:" + "d" * 64,
    log_path="/var/log/pods/redis.log",
    pid=0,
    user=status.UserStatus(uid=999, gid=1000, supplemental_groups=(1000, 7)),
    stop_signal="SIGRTMIN+3",
    runtime_handler="rundlet",
)
CPU = status.CpuStats(timestamp_ns=9, usage_ns=10, usage_nanocores=11)
MEMORY = status.MemoryStats(
    timestamp_ns=9,
    working_set_bytes=1,
    available_bytes=-1,
    usage_bytes=3,
    rss_bytes=4,
    page_faults=5,
    major_page_faults=6,
    swap_usage_bytes=7,
    swap_available_bytes=8,
)
CONTAINER_STATS = status.ContainerStats(
    container=CONTAINER,
    cpu=CPU,
    memory=MEMORY,
    pids=3,
    writable_layer=status.FilesystemUsage(
        timestamp_ns=9, mountpoint="/var/lib/rundlet", used_bytes=12, inodes_used=13
    ),
)


def image(user):
    config = ImageConfig(rootfs=RootFs("layers", ()), config=ExecutionConfig(user=user))
    return ImageRecord("sha256:" + "c" * 64, ("a:1",), ("a@sha256:d",), 42, 0, (), config, True, "sha256:d")


def test_pod_status():
    message = messages.pod_status_message(POD)
    assert (message.id, message.state, message.created_at) == (POD.id, api.SANDBOX_READY, 5)
    assert message.metadata == api.PodSandboxMetadata(name="web", uid="u", namespace="shop", attempt=2)
    assert message.network.ip == "10.88.0.2"
    assert [address.ip for address in message.network.additional_ips] == ["fd00::2"]
    namespaces = message.linux.namespaces.options
    assert (namespaces.network, namespaces.pid, namespaces.ipc) == (api.POD, api.CONTAINER, api.NODE)
    assert dict(message.annotations) == {"note": "été"}


def test_a_pod_in_the_list_has_what_its_status_has():
    line, full = messages.pod_message(POD), messages.pod_status_message(POD)
    for field in ("id", "metadata", "state", "created_at", "labels", "annotations", "runtime_handler"):
        assert getattr(line, field) == getattr(full, field)


def test_container_status():
    message = messages.container_status_message(CONTAINER)
    assert (message.created_at, message.started_at, message.finished_at) == (1, 2, 3)
    assert (message.exit_code, message.reason, message.state) == (137, "OOMKilled", api.CONTAINER_EXITED)
    assert message.image == api.ImageSpec(image="redis:alpine", user_specified_image="redis")
    assert message.user.linux == api.LinuxContainerUser(uid=999, gid=1000, supplemental_groups=[1000, 7])
    assert message.mounts[0].readonly
    assert message.resources.linux.memory_limit_in_bytes == 1 << 20
    assert message.stop_signal == api.SIGNAL_SIGRTMINPLUS3


def test_a_container_in_the_list_has_what_its_status_has():
    line, full = messages.container_message(CONTAINER), messages.container_status_message(CONTAINER)
    for field in ("id", "metadata", "state", "created_at", "image", "image_ref", "image_id", "labels"):
        assert getattr(line, field) == getattr(full, field)


@pytest.mark.parametrize(
    ("user", "uid", "username"),
    [
        ("", 0, ""),
        ("0", 0, ""),
        ("999:1000", 999, ""),
        ("redis", None, "redis"),
        ("redis:redis", None, "redis"),
    ],
)
def test_an_image_has_a_uid_or_a_username(user, uid, username):
    message = messages.image_message(image(user), {"org.opencontainers.image.title": "t"})
    assert message.HasField("uid") == (uid is not None)
    assert (message.uid.value, message.username) == (uid or 0, username)
    assert (message.size, message.pinned) == (42, True)
    assert message.spec.annotations["org.opencontainers.image.title"] == "t"


def test_container_stats():
    message = messages.container_stats_message(CONTAINER_STATS)
    assert message.attributes.id == CONTAINER.id
    assert (message.cpu.timestamp, message.cpu.usage_core_nano_seconds.value) == (9, 10)
    assert message.memory.available_bytes.value == 0, "unlimited is no negative number on the wire"
    assert message.swap.swap_usage_bytes.value == 7
    assert message.writable_layer.fs_id.mountpoint == "/var/lib/rundlet"


def test_pod_stats_tell_the_default_interface_from_the_others():
    interfaces = tuple(
        status.InterfaceStats(name=name, rx_bytes=1, rx_errors=0, tx_bytes=2, tx_errors=0)
        for name in ("net1", "eth0")
    )
    stats = status.PodStats(
        pod=POD, cpu=CPU, memory=MEMORY, pids=3, interfaces=interfaces, containers=(CONTAINER_STATS,)
    )
    message = messages.pod_stats_message(stats).linux
    assert message.network.default_interface.name == "eth0"
    assert [interface.name for interface in message.network.interfaces] == ["net1"]
    assert message.process.process_count.value == 3
    assert message.containers[0].attributes.id == CONTAINER.id


def test_pressure_is_told_where_the_kernel_keeps_it():
    pressure = Pressure(Stall(12, 0.25, 1.5, 3.0), Stall(5))
    assert not messages.container_stats_message(CONTAINER_STATS).HasField("io")
    assert not messages.container_stats_message(CONTAINER_STATS).cpu.HasField("psi")
    stats = replace(
        CONTAINER_STATS,
        cpu=replace(CPU, pressure=pressure),
        memory=replace(MEMORY, pressure=pressure),
        io=status.IoStats(9, pressure),
    )
    message = messages.container_stats_message(stats)
    for psi in (message.cpu.psi, message.memory.psi, message.io.psi):
        assert (psi.Some.Total, psi.Some.Avg10, psi.Some.Avg60, psi.Some.Avg300) == (12, 0.25, 1.5, 3.0)
        assert (psi.Full.Total, psi.Full.Avg10) == (5, 0.0)
