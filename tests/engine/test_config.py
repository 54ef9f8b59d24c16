"""Options + image → config.json."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.engine.config import ContainerView, HostFacts, PodView, build_config, choose_args, choose_env
from rundlet.engine.devices import device_rules
from rundlet.engine.mounts import PodFiles
from rundlet.engine.options import (
    Capabilities,
    ContainerOptions,
    Mount,
    Namespaces,
    PodOptions,
    Resources,
    Security,
)
from rundlet.engine.selinux import Labels
from rundlet.engine.users import Identity
from rundlet.errors import InvalidArgument
from rundlet.spec.image import ExecutionConfig
from rundlet.spec.json import decode, encode
from rundlet.spec.runtime import Device, RuntimeConfig

FILES = PodFiles("/run/p/hosts", "/run/p/hostname", "/run/p/resolv.conf", "/run/p/shm")
HOST = HostFacts(oom_score_adj=0, may_lower_oom_score=False, swap_accounting=True, apparmor=False)
IMAGE = ExecutionConfig(
    entrypoint=("/entry",), cmd=("serve",), env=("PATH=/bin", "A=1", "B=x=y"), working_dir="/data"
)
NAMESPACES = {"net": "/n/net", "ipc": "/n/ipc", "uts": "/n/uts", "pid": "/proc/7/ns/pid"}


def options(**fields: object) -> ContainerOptions:
    return ContainerOptions(**({"name": "c", "image": "i"} | fields))


def build(
    wanted: ContainerOptions | None = None,
    pod: PodOptions | None = None,
    namespaces: dict[str, str] = NAMESPACES,
    **facts: object,
) -> RuntimeConfig:
    wanted = wanted or options()
    view = PodView("p" * 64, pod or PodOptions(name="pod", namespace="ns"), "host", namespaces, FILES)
    fields = {
        "id": "c" * 64,
        "cgroups_path": "/rundlet/p/c",
        "image_name": "i",
        "identity": Identity(999, 1000, (1000, 5), "/data"),
        "mounts": list(wanted.mounts),
        "devices": [],
        "seccomp": None,
    }
    return build_config(view, ContainerView(**(fields | facts)), wanted, IMAGE, HOST)


def namespaces_of(config: RuntimeConfig) -> dict[str, str]:
    return {item.type: item.path for item in config.linux.namespaces}


def destinations(config: RuntimeConfig) -> list[str]:
    return [mount.destination for mount in config.mounts]


@pytest.mark.parametrize(
    ("command", "args", "entrypoint", "cmd", "expected"),
    [
        ((), (), ("/e",), ("c",), ["/e", "c"]),
        ((), ("a",), ("/e",), ("c",), ["/e", "a"]),
        (("x",), (), ("/e",), ("c",), ["x"]),
        (("x",), ("a",), ("/e",), ("c",), ["x", "a"]),
        ((), (), (), ("c",), ["c"]),
        ((), ("a",), (), ("c",), ["a"]),
    ],
)
def test_args(command, args, entrypoint, cmd, expected):
    image = ExecutionConfig(entrypoint=entrypoint, cmd=cmd)
    assert choose_args(options(command=command, args=args), image) == expected


def test_nothing_to_run():
    with pytest.raises(InvalidArgument, match=r"^command: "):
        choose_args(options(), ExecutionConfig())


def test_env_order_and_precedence():
    wanted = options(env=(("A", "2"), ("C", "")), tty=True)
    assert choose_env(wanted, IMAGE, "host") == [
        "PATH=/bin",
        "HOSTNAME=host",
        "TERM=xterm",
        "A=2",
        "B=x=y",
        "C=",
    ]


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), st.text(max_size=5)))
def test_every_variable_of_the_options_arrives(env):
    assert {f"{key}={value}" for key, value in env.items()} <= set(
        choose_env(options(env=tuple(env.items())), IMAGE, "h")
    )


def test_process():
    process = build(options(security=Security(no_new_privileges=True))).process
    assert process.args == ["/entry", "serve"]
    assert process.cwd == "/data"
    assert "HOME=/data" in process.env
    assert process.user.uid == 999
    assert process.user.additional_gids == [1000, 5]
    assert process.no_new_privileges
    assert "CAP_CHOWN" in process.capabilities.bounding
    assert "CAP_SYS_ADMIN" not in process.capabilities.bounding
    assert process.capabilities.ambient is None


def test_namespaces_of_the_pod_are_joined():
    assert namespaces_of(build()) == {
        "network": "/n/net",
        "ipc": "/n/ipc",
        "uts": "/n/uts",
        "pid": "/proc/7/ns/pid",
        "mount": "",
        "cgroup": "",
    }


def test_namespaces_of_the_node():
    node = Security(namespaces=Namespaces(network="node", pid="node", ipc="node"))
    config = build(options(security=node), PodOptions(name="p", security=node), namespaces={})
    assert namespaces_of(config) == {"mount": "", "cgroup": ""}


@pytest.mark.parametrize(
    ("pod", "container", "expected"),
    [
        ("container", "container", ""),
        ("container", "pod", ""),
        ("node", "pod", None),
        ("pod", "node", None),
        ("pod", "target", "/proc/42/ns/pid"),
    ],
)
def test_pid_modes(pod, container, expected):
    config = build(
        options(security=Security(namespaces=Namespaces(pid=container))),
        PodOptions(name="p", security=Security(namespaces=Namespaces(pid=pod))),
        target_pid_namespace="/proc/42/ns/pid",
    )
    assert namespaces_of(config).get("pid") == expected


def test_default_mounts():
    found = destinations(build())
    for path in ("/proc", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys", "/sys/fs/cgroup"):
        assert path in found
    assert found.index("/sys") < found.index("/sys/fs/cgroup")
    assert found.index("/dev") < found.index("/dev/shm")
    by_path = {mount.destination: mount for mount in build().mounts}
    assert by_path["/etc/hosts"].source == "/run/p/hosts"
    assert "ro" in by_path["/sys"].options


def test_own_mounts_replace_defaults_and_keep_parents_first():
    mounts = (
        Mount(container_path="/data/deep", host_path="/b", readonly=True),
        Mount(container_path="/data", host_path="/a", propagation="bidirectional"),
        Mount(container_path="/etc/hosts/", host_path="/h", readonly=True, recursive_readonly=True),
    )
    config = build(options(mounts=mounts))
    found = destinations(config)
    assert found.count("/etc/hosts") == 1
    assert found.index("/data") < found.index("/data/deep")
    by_path = {mount.destination: mount for mount in config.mounts}
    assert by_path["/data"].options == ["rbind", "rshared", "rw"]
    assert by_path["/data/deep"].options == ["rbind", "rprivate", "ro"]
    assert by_path["/etc/hosts"].options == ["rbind", "rprivate", "rro"]
    assert config.linux.rootfs_propagation == "rshared"


def test_masks_and_privilege():
    normal = build().linux
    assert "/proc/kcore" in normal.masked_paths
    assert "/proc/sys" in normal.readonly_paths
    assert normal.resources.devices[0].allow is False
    config = build(options(security=Security(privileged=True)))
    assert config.linux.masked_paths is None
    assert config.linux.resources.devices[0].allow
    assert "CAP_SYS_ADMIN" in config.process.capabilities.bounding
    assert "rw" in {m.destination: m for m in config.mounts}["/sys"].options


def test_security_modules():
    config = build(labels=Labels("u:r:t:s0:c1", "u:object_r:f:s0:c1"), apparmor_profile="mine")
    assert (config.process.selinux_label, config.linux.mount_label) == ("u:r:t:s0:c1", "u:object_r:f:s0:c1")
    assert config.process.apparmor_profile == "mine"
    assert (build().process.selinux_label, build().linux.mount_label) == ("", "")


@pytest.mark.parametrize(
    ("wanted", "has", "lacks"),
    [
        (Capabilities(add=("NET_ADMIN",), drop=("CAP_CHOWN",)), {"CAP_NET_ADMIN"}, {"CAP_CHOWN"}),
        (Capabilities(drop=("ALL",), add=("kill",)), {"CAP_KILL"}, {"CAP_CHOWN", "CAP_SETUID"}),
        (Capabilities(add=("ALL",), drop=("SYS_ADMIN",)), {"CAP_BPF"}, {"CAP_SYS_ADMIN"}),
    ],
)
def test_capabilities(wanted, has, lacks):
    found = set(build(options(security=Security(capabilities=wanted))).process.capabilities.effective)
    assert has <= found
    assert not lacks & found


def test_ambient_capabilities():
    sets = build(
        options(security=Security(capabilities=Capabilities(add_ambient=("NET_RAW",))))
    ).process.capabilities
    assert sets.ambient == ["CAP_NET_RAW"]
    assert sets.inheritable == ["CAP_NET_RAW"]


def test_resources():
    config = build(
        options(
            resources=Resources(memory_limit_bytes=1 << 20, cpu_shares=512, pids_limit=9, oom_score_adj=-500)
        )
    )
    resources = config.linux.resources
    assert (resources.memory.limit, resources.memory.swap) == (1 << 20, 1 << 20)
    assert resources.cpu.shares == 512
    assert resources.pids.limit == 9
    # Without CAP_SYS_RESOURCE the kernel refuses less than the parent's own.
    assert config.process.oom_score_adj == 0


def test_devices_get_rules():
    node = Device(type="c", path="/dev/fuse", major=10, minor=229)
    rules = device_rules([(node, "rw")], privileged=False)
    assert (rules[-1].major, rules[-1].minor, rules[-1].access) == (10, 229, "rw")


def test_annotations_name_the_pod():
    annotations = build(options(annotations={"mine": "1"})).annotations
    assert annotations["mine"] == "1"
    assert annotations["io.kubernetes.cri.container-type"] == "container"
    assert annotations["io.kubernetes.cri.sandbox-id"] == "p" * 64


def test_the_document_survives_json():
    config = build(options(security=Security(privileged=True)))
    assert decode(encode(config), RuntimeConfig, "config") == config
