"""CRI requests become engine options and nothing bad gets through."""

import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cri import messages, options
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.security import namespaces_from, namespaces_message
from rundlet.engine.options import (
    Capabilities,
    ContainerFilter,
    ContainerOptions,
    Device,
    Dns,
    Mount,
    Namespaces,
    PodFilter,
    PodOptions,
    PortMapping,
    Resources,
    Security,
    SecurityProfile,
    SelinuxLabel,
)
from rundlet.engine.validate import check_container, check_pod
from rundlet.errors import InvalidArgument

# --- options → messages: the inverse of what is tested --------------------------------------


def _profile_message(profile):
    kinds = {"runtime-default": 0, "unconfined": 1, "localhost": 2}
    return api.SecurityProfile(profile_type=kinds[profile.kind], localhost_ref=profile.path)


def _int64(value):
    return None if value is None else api.Int64Value(value=value)


def _shared_context(security):
    return {
        "privileged": security.privileged,
        "namespace_options": namespaces_message(security.namespaces),
        "run_as_user": _int64(security.user_id),
        "run_as_group": _int64(security.group_id),
        "supplemental_groups": security.supplemental_groups,
        "supplemental_groups_policy": ["merge", "strict"].index(security.supplemental_groups_policy),
        "readonly_rootfs": security.readonly_rootfs,
        "seccomp": _profile_message(security.seccomp),
        "apparmor": None if security.apparmor is None else _profile_message(security.apparmor),
        "selinux_options": api.SELinuxOption(**msgspec.structs.asdict(security.selinux)),
    }


def _container_context(security):
    return api.LinuxContainerSecurityContext(
        **_shared_context(security),
        run_as_username=security.user_name,
        no_new_privs=security.no_new_privileges,
        masked_paths=security.masked_paths,
        readonly_paths=security.readonly_paths,
        capabilities=api.Capability(
            add_capabilities=security.capabilities.add,
            drop_capabilities=security.capabilities.drop,
            add_ambient_capabilities=security.capabilities.add_ambient,
        ),
    )


def pod_config(pod):
    return api.PodSandboxConfig(
        metadata=messages.pod_metadata(pod),
        hostname=pod.hostname,
        log_directory=pod.log_directory,
        dns_config=api.DNSConfig(servers=pod.dns.servers, searches=pod.dns.searches, options=pod.dns.options),
        port_mappings=[
            api.PortMapping(
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
                protocol=["tcp", "udp", "sctp"].index(port.protocol),
            )
            for port in pod.port_mappings
        ],
        labels=pod.labels,
        annotations=pod.annotations,
        linux=api.LinuxPodSandboxConfig(
            cgroup_parent=pod.cgroup_parent,
            sysctls=pod.sysctls,
            resources=None if pod.resources == Resources() else messages.resources_message(pod.resources),
            overhead=None if pod.overhead == Resources() else messages.resources_message(pod.overhead),
            security_context=api.LinuxSandboxSecurityContext(**_shared_context(pod.security)),
        ),
    )


def container_config(container):
    return api.ContainerConfig(
        metadata=api.ContainerMetadata(name=container.name, attempt=container.attempt),
        image=api.ImageSpec(image=container.image, user_specified_image=container.user_image),
        command=container.command,
        args=container.args,
        working_dir=container.working_dir,
        envs=[api.KeyValue(key=key, value=value.encode()) for key, value in container.env],
        mounts=[messages.mount_message(mount) for mount in container.mounts],
        devices=[
            api.Device(
                host_path=device.host_path,
                container_path=device.container_path,
                permissions=device.permissions,
            )
            for device in container.devices
        ],
        labels=container.labels,
        annotations=container.annotations,
        log_path=container.log_path,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        linux=api.LinuxContainerConfig(
            resources=(
                None
                if container.resources == Resources()
                else messages.resources_message(container.resources)
            ),
            security_context=_container_context(container.security),
        ),
        stop_signal=messages.signal_name(container.stop_signal),
    )


# --- strategies ------------------------------------------------------------------------------

text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=8)
words = st.text(string.ascii_letters + string.digits + ".:-", min_size=1, max_size=8)
paths = words.map(lambda word: "/" + word)
ids = st.integers(0, 2**32 - 2)
maps = st.dictionaries(names, text, max_size=3)


def tuples(items):
    return st.lists(items, max_size=3).map(tuple)


def maybe(values):
    return st.none() | values


profiles = st.just(SecurityProfile()) | st.sampled_from(
    [SecurityProfile(kind="runtime-default"), SecurityProfile(kind="localhost", path="/etc/profile.json")]
)
namespaces = st.builds(
    Namespaces,
    network=st.sampled_from(["pod", "node"]),
    pid=st.sampled_from(["pod", "container", "node"]),
    ipc=st.sampled_from(["pod", "node"]),
) | st.just(Namespaces(pid="target", target_id="abc"))
shared_security = {
    "privileged": st.booleans(),
    "namespaces": namespaces,
    "user_id": maybe(ids),
    "group_id": maybe(ids),
    "supplemental_groups": tuples(ids),
    "supplemental_groups_policy": st.sampled_from(["merge", "strict"]),
    "readonly_rootfs": st.booleans(),
    "seccomp": profiles,
    "apparmor": maybe(profiles),
    "selinux": st.builds(SelinuxLabel, user=text, role=text, type=text, level=text),
}
positive = maybe(st.integers(1, 2**62))
resources = st.just(Resources()) | st.builds(
    Resources,
    cpu_period_us=positive,
    cpu_quota_us=maybe(st.integers(-1, 2**40).filter(bool)),
    cpu_shares=positive,
    cpuset_cpus=words,
    cpuset_mems=words,
    memory_limit_bytes=positive,
    memory_swap_limit_bytes=maybe(st.integers(-1, 2**40).filter(bool)),
    oom_score_adj=st.integers(-1000, 1000),
    hugepage_limits=st.dictionaries(words, st.integers(0, 2**63), max_size=2),
    unified=maps,
)
pods = st.builds(
    PodOptions,
    name=names,
    uid=text,
    namespace=text,
    attempt=st.integers(0, 2**32 - 1),
    hostname=words,
    log_directory=paths,
    dns=st.builds(Dns, servers=tuples(words), searches=tuples(words), options=tuples(words)),
    port_mappings=tuples(
        st.builds(
            PortMapping,
            container_port=st.integers(0, 65535),
            host_port=st.integers(0, 65535),
            host_ip=st.ip_addresses().map(str) | st.just(""),
            protocol=st.sampled_from(["tcp", "udp", "sctp"]),
        )
    ),
    labels=maps,
    annotations=maps,
    cgroup_parent=text,
    sysctls=maps,
    security=st.builds(Security, **shared_security),
    resources=resources,
    overhead=resources,
    runtime_handler=text,
)
mounts = st.builds(
    Mount,
    container_path=paths,
    host_path=paths,
    readonly=st.booleans(),
    recursive_readonly=st.booleans(),
    propagation=st.sampled_from(["private", "host-to-container", "bidirectional"]),
    options=tuples(words),
    selinux_relabel=st.booleans(),
) | st.builds(Mount, container_path=paths, image=names, image_sub_path=words.filter(lambda w: w != ".."))
containers = st.builds(
    ContainerOptions,
    name=names,
    image=names,
    attempt=st.integers(0, 2**32 - 1),
    user_image=text,
    command=tuples(text),
    args=tuples(text),
    working_dir=text,
    env=tuples(st.tuples(names.filter(lambda name: "=" not in name), text)),
    mounts=tuples(mounts),
    devices=tuples(
        st.builds(
            Device, host_path=paths, container_path=paths, permissions=st.sampled_from(["r", "rw", "rwm"])
        )
    ),
    labels=maps,
    annotations=maps,
    log_path=words.filter(lambda word: word != ".."),
    stdin=st.booleans(),
    stdin_once=st.booleans(),
    tty=st.booleans(),
    resources=resources,
    security=st.builds(
        Security,
        **shared_security,
        user_name=text,
        no_new_privileges=st.booleans(),
        masked_paths=tuples(paths),
        readonly_paths=tuples(paths),
        capabilities=st.builds(
            Capabilities, add=tuples(names), drop=tuples(names), add_ambient=tuples(names)
        ),
    ),
    stop_signal=st.sampled_from(["", "SIGTERM", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-14", "SIGKILL"]),
)

# --- round trips -----------------------------------------------------------------------------


@given(pods)
def test_pod_options_survive_the_wire(pod):
    config = api.PodSandboxConfig.FromString(pod_config(pod).SerializeToString())
    assert options.pod_options(config, pod.runtime_handler) == pod


@given(containers)
def test_container_options_survive_the_wire(container):
    config = api.ContainerConfig.FromString(container_config(container).SerializeToString())
    assert options.container_options(config) == container


def test_filters():
    state = api.PodSandboxStateValue(state=api.SANDBOX_NOTREADY)
    asked = api.PodSandboxFilter(id="ab", state=state, label_selector={"a": "b"})
    assert options.pod_filter(asked) == PodFilter(id="ab", state="notready", labels={"a": "b"}, origin="cri")
    assert options.pod_filter(api.PodSandboxFilter()) == PodFilter(origin="cri")
    created = api.ContainerFilter(pod_sandbox_id="cd", state=api.ContainerStateValue(state=0))
    assert options.container_filter(created) == ContainerFilter(pod_id="cd", state="created", origin="cri")
    assert options.container_filter(api.ContainerFilter()) == ContainerFilter(origin="cri")


@pytest.mark.parametrize("number", [value for value in api.Signal.values() if value])
def test_every_signal_name_comes_back(number):
    name = options.stop_signal(number, "stop_signal")
    assert api.Signal.Value(messages.signal_name(name)) == number


def test_an_unknown_signal_of_an_image_is_the_runtimes_default():
    assert messages.signal_name("SIGNONSENSE") == "SIGNAL_RUNTIME_DEFAULT"


# --- refusals: by the wall what options cannot hold, by the engine what may not be -------------

POD = {"metadata": {"name": "web"}}
CONTAINER = {"metadata": {"name": "web"}, "image": {"image": "redis"}}


def _linux(**context):
    return {"linux": {"security_context": context}}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"metadata": {}}, "name"),
        ({"metadata": {"name": "a\0b"}}, "name"),
        ({"labels": {"a": "b\0"}}, "labels['a']"),
        ({"annotations": {"a\0": "b"}}, "annotations key"),
        ({"log_directory": "logs"}, "log_directory"),
        ({"dns_config": {"servers": ["8.8.8.8\nnameserver 6.6.6.6"]}}, "dns.servers[0]"),
        ({"port_mappings": [{"container_port": 70000}]}, "port_mappings[0].container_port"),
        ({"port_mappings": [{"container_port": 1, "host_ip": "localhost"}]}, "port_mappings[0].host_ip"),
        ({"port_mappings": [{"protocol": 7}]}, "config.port_mappings[0].protocol"),
        (_linux(namespace_options={"network": 1}), "config.linux.security_context.namespace_options.network"),
        (_linux(namespace_options={"pid": 99}), "config.linux.security_context.namespace_options.pid"),
        (_linux(run_as_user={"value": -1}), "security.user_id"),
        (_linux(supplemental_groups=[1, 2**32 - 1]), "security.supplemental_groups[1]"),
        (_linux(supplemental_groups_policy=5), "config.linux.security_context.supplemental_groups_policy"),
        (_linux(seccomp={"profile_type": 9}), "config.linux.security_context.seccomp.profile_type"),
        ({"linux": {"resources": {"oom_score_adj": 1001}}}, "resources.oom_score_adj"),
        ({"linux": {"overhead": {"cpu_shares": -1}}}, "overhead.cpu_shares"),
    ],
)
def test_bad_pod_values_are_named(change, path):
    with pytest.raises(InvalidArgument) as caught:
        check_pod(options.pod_options(api.PodSandboxConfig(**POD | change)))
    assert caught.value.message.startswith(path + ":")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"metadata": {}}, "name"),
        ({"image": {}}, "image"),
        ({"envs": [{"key": "", "value": b""}]}, "env[0]"),
        ({"envs": [{"key": "A=B", "value": b""}]}, "env[0]"),
        ({"envs": [{"key": "A", "value": b"\xff"}]}, "config.envs[0].value"),
        ({"envs": [{"key": "A", "value": b"a\0"}]}, "env[0][1]"),
        ({"command": ["sh", "a\0"]}, "command[1]"),
        ({"mounts": [{"container_path": "data", "host_path": "/a"}]}, "mounts[0].container_path"),
        ({"mounts": [{"container_path": "/data", "host_path": "a"}]}, "mounts[0].host_path"),
        ({"mounts": [{"container_path": "/data"}]}, "mounts[0]"),
        (
            {"mounts": [{"container_path": "/d", "host_path": "/a", "propagation": 5}]},
            "config.mounts[0].propagation",
        ),
        (
            {"mounts": [{"container_path": "/d", "image": {"image": "a"}, "image_sub_path": "../x"}]},
            "mounts[0].image_sub_path",
        ),
        ({"devices": [{"host_path": "/dev/null", "permissions": "rx"}]}, "devices[0].permissions"),
        ({"devices": [{"container_path": "/dev/null"}]}, "devices[0]"),
        ({"log_path": "../../etc/cron.d/x"}, "log_path"),
        ({"log_path": "/etc/x"}, "log_path"),
        ({"stop_signal": 66}, "config.stop_signal"),
        (_linux(masked_paths=["proc"]), "security.masked_paths[0]"),
        (_linux(namespace_options={"pid": 3}), "security.namespaces.target_id"),
        (_linux(seccomp={"profile_type": 2, "localhost_ref": "x.json"}), "security.seccomp.path"),
    ],
)
def test_bad_container_values_are_named(change, path):
    with pytest.raises(InvalidArgument) as caught:
        check_container(options.container_options(api.ContainerConfig(**CONTAINER | change)), PodOptions("p"))
    assert caught.value.message.startswith(path + ":")


def test_cdi_devices_go_by_name():
    change = {"CDI_devices": [{"name": "vendor.com/x=1"}, {"name": "vendor.com/x=2"}]}
    made = options.container_options(api.ContainerConfig(**CONTAINER | change))
    assert made.cdi_devices == ("vendor.com/x=1", "vendor.com/x=2")


# --- absence ---------------------------------------------------------------------------------


def test_a_bare_config_asks_for_nothing():
    assert options.pod_options(api.PodSandboxConfig(**POD)) == PodOptions(name="web")
    assert options.container_options(api.ContainerConfig(**CONTAINER)) == ContainerOptions(
        name="web", image="redis"
    )


def test_a_given_resources_message_sets_oom_score_adj_even_when_zero():
    config = api.ContainerConfig(**CONTAINER | {"linux": {"resources": {"memory_limit_in_bytes": 1}}})
    assert options.container_options(config).resources == Resources(memory_limit_bytes=1, oom_score_adj=0)


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("", SecurityProfile()),
        ("unconfined", SecurityProfile()),
        ("runtime/default", SecurityProfile(kind="runtime-default")),
        ("docker/default", SecurityProfile(kind="runtime-default")),
        ("localhost//etc/a.json", SecurityProfile(kind="localhost", path="/etc/a.json")),
    ],
)
def test_the_deprecated_seccomp_path_is_still_read(text, profile):
    config = api.ContainerConfig(**CONTAINER | _linux(seccomp_profile_path=text))
    assert options.container_options(config).security.seccomp == profile


def test_the_new_apparmor_field_wins_over_the_old_one():
    both = _linux(apparmor={"profile_type": 1}, apparmor_profile="runtime/default")
    only_old = _linux(apparmor_profile="localhost/mine")
    kinds = [
        options.container_options(api.ContainerConfig(**CONTAINER | change)).security.apparmor
        for change in (both, only_old)
    ]
    assert kinds == [SecurityProfile(), SecurityProfile(kind="localhost", path="mine")]


def test_a_user_namespace_has_one_mapping_in_cri():
    mapping = api.IDMapping(container_id=0, host_id=1000, length=10)
    users = api.UserNamespace(mode=api.POD, uids=[mapping, mapping], gids=[mapping])
    with pytest.raises(InvalidArgument, match=r"path\.userns_options\.uids: expected exactly one mapping"):
        namespaces_from(api.NamespaceOption(userns_options=users), "path")
