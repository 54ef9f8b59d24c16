import pytest

from rundlet.engine.options import (
    Capabilities,
    ContainerOptions,
    Device,
    Dns,
    IdMapping,
    Mount,
    Namespaces,
    PodOptions,
    PortMapping,
    Resources,
    Security,
    SecurityProfile,
    SelinuxLabel,
)
from rundlet.engine.validate import check_container, check_pod
from rundlet.errors import InvalidArgument

POD = PodOptions(name="pod", log_directory="/var/log/pods/x")


def test_plain_options_pass():
    check_pod(POD)
    check_pod(
        PodOptions(
            name="p",
            hostname="a-b.example",
            dns=Dns(servers=("10.96.0.10",), searches=("svc.cluster.local",), options=("ndots:5",)),
            port_mappings=(PortMapping(80, host_port=8080, host_ip="::1"),),
            sysctls={"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "9"},
        )
    )
    check_container(ContainerOptions(name="c", image="i", log_path="c/0.log", stop_signal="SIGUSR1"), POD)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("name", {"name": ""}),
        ("hostname", {"hostname": "no good"}),
        ("hostname", {"hostname": "x" * 65}),
        ("log_directory", {"log_directory": "relative"}),
        ("cgroup_parent", {"cgroup_parent": "/kubepods/../.."}),
        ("dns.servers[0]", {"dns": Dns(servers=("1.1.1.1\nnameserver 6.6.6.6",))}),
        ("port_mappings[0].container_port", {"port_mappings": (PortMapping(0, 80),)}),
        ("port_mappings[0].host_ip", {"port_mappings": (PortMapping(80, 80, "local"),)}),
        ("sysctls", {"sysctls": {"vm.swappiness": "1"}}),
        ("sysctls", {"sysctls": {"kernel.shm_rmid_forced/../../x": "1"}}),
        (
            "sysctls",
            {"sysctls": {"net.x": "1"}, "security": Security(namespaces=Namespaces(network="node"))},
        ),
        ("security.group_id", {"security": Security(group_id=4)}),
        ("security.namespaces.pid", {"security": Security(namespaces=Namespaces(pid="target"))}),
        ("resources.cpu_shares", {"resources": Resources(cpu_shares=-1)}),
    ],
)
def test_wrong_pods(path, fields):
    with pytest.raises(InvalidArgument) as caught:
        check_pod(PodOptions(**({"name": "p"} | fields)))
    assert caught.value.message.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("name", {"name": ""}),
        ("image", {"image": ""}),
        ("log_path", {"log_path": "../../etc/cron.d/x"}),
        ("log_path", {"log_path": "/etc/cron.d/x"}),
        ("working_dir", {"working_dir": "data"}),
        ("env[0]", {"env": (("A=B", "x"),)}),
        ("args[0]", {"args": ("a\0b",)}),
        ("mounts[0].container_path", {"mounts": (Mount(container_path="x", host_path="/x"),)}),
        ("mounts[0].container_path", {"mounts": (Mount(container_path="//", host_path="/x"),)}),
        ("mounts[0]", {"mounts": (Mount(container_path="/x"),)}),
        ("mounts[0]", {"mounts": (Mount(container_path="/x", host_path="/x", image="i"),)}),
        (
            "mounts[0].recursive_readonly",
            {"mounts": (Mount(container_path="/x", host_path="/x", recursive_readonly=True),)},
        ),
        (
            "mounts[0].recursive_readonly",
            {"mounts": (Mount("/x", "/x", True, True, "bidirectional"),)},
        ),
        ("mounts[0].options", {"mounts": (Mount("/x", "/x", options=("remount",)),)}),
        ("devices[0].permissions", {"devices": (Device("/dev/fuse", "/dev/fuse", "rwx"),)}),
        ("stop_signal", {"stop_signal": "SIGNOTHING"}),
        ("security.privileged", {"security": Security(privileged=True)}),
        (
            "security.capabilities.add[0]",
            {"security": Security(capabilities=Capabilities(add=("FLY",)))},
        ),
        ("security.seccomp.path", {"security": Security(seccomp=SecurityProfile("localhost"))}),
        ("security.namespaces.target_id", {"security": Security(namespaces=Namespaces(pid="target"))}),
        ("security.selinux.type", {"security": Security(selinux=SelinuxLabel(type="a:b"))}),
        ("security.selinux.level", {"security": Security(selinux=SelinuxLabel(level="c1,c2"))}),
        ("resources.memory_limit_bytes", {"resources": Resources(memory_limit_bytes=-5)}),
        ("resources.oom_score_adj", {"resources": Resources(oom_score_adj=2000)}),
    ],
)
def test_wrong_containers(path, fields):
    with pytest.raises(InvalidArgument) as caught:
        check_container(ContainerOptions(**({"name": "c", "image": "i"} | fields)), POD)
    assert caught.value.message.startswith(f"{path}:")


ROOT = IdMapping(0, 1000, 100000)


def in_user_namespace(**more):
    fields = {"user": "pod", "uid_mappings": (ROOT,), "gid_mappings": (ROOT,)} | more
    return PodOptions(name="p", security=Security(namespaces=Namespaces(**fields)))


def test_a_user_namespace_with_one_mapping_passes():
    check_pod(in_user_namespace())


@pytest.mark.parametrize(
    "more",
    [
        {"user": "container"},
        {"user": "target"},
        {"uid_mappings": ()},
        {"gid_mappings": ()},
        {"uid_mappings": (IdMapping(1, 1000, 10),)},
        {"gid_mappings": (IdMapping(0, 1000, 0),)},
        {"network": "node"},
    ],
)
def test_a_user_namespace_that_cannot_be(more):
    with pytest.raises(InvalidArgument):
        check_pod(in_user_namespace(**more))
