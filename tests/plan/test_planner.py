"""config.json → plan: what is planned, what is refused and how."""

import json
from typing import Any

import pytest
from hypothesis import given, settings

from rundlet.errors import Error, FailedPrecondition, InvalidArgument
from rundlet.kernel import mount as m
from rundlet.plan import steps
from rundlet.plan.attributes import SetMemoryPolicy, SetPersonality, SetScheduler
from rundlet.plan.container import ContainerPlan, decode_plan, encode_plan
from rundlet.plan.identity import parse_list
from rundlet.plan.planner import Host, Overlay, plan_container
from rundlet.runtime import execute
from rundlet.spec.json import decode
from rundlet.spec.runtime import RuntimeConfig
from tests.plan.mutations import FULL, mutated

HOST = Host(
    -1,
    {"memory": "/sys/fs/cgroup/memory/x", "cpu": "/cg/cpu/x", "cpuacct": "/cg/cpu/x"},
    ("apparmor", "selinux"),
)


def make_plan(config: dict[str, Any], host: Host = HOST, **options: Any) -> ContainerPlan:
    parsed = decode(json.dumps(config), RuntimeConfig, "config.json")
    return plan_container("c", parsed, host, bundle="/bundle", **options)


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    """FULL with members of its sections replaced; None removes one."""
    config = {**FULL}
    for section, members in sections.items():
        merged = {**config[section], **members}
        config[section] = {key: value for key, value in merged.items() if value is not None}
    return config


def only(plan: ContainerPlan, kind: type) -> list[Any]:
    return [step for step in (*plan.entry, *plan.setup, *plan.process.attributes) if isinstance(step, kind)]


def test_the_whole_specification_is_planned() -> None:
    plan = make_plan(FULL)
    assert plan.clone == ("mount", "pid", "network", "ipc", "uts")
    assert plan.user is not None
    assert plan.user.uid_map == ((0, 1000, 65536),)
    assert plan.needs_helper
    assert [type(step).__name__ for step in plan.entry] == [
        "SetOomScore", "JoinResctrl", "MoveNetDevice", "NewTimeNamespace",
    ]  # fmt: skip
    assert plan.entry[-1] == steps.NewTimeNamespace((("monotonic", 5, 6), ("boottime", -7, 0)))
    assert plan.entry[1] == steps.JoinResctrl("group", ("L3:0=f", "MB:0=20"), "c")
    order = [type(step).__name__ for step in plan.setup]
    assert order[0] == "Unshare"
    assert order.index("AwaitHooks") < order.index("RunHooks") < order.index("PivotRoot")
    assert order[-2:] == ["SetFinalPropagation", "SetRootReadonly"]
    process = plan.process
    assert [type(step) for step in process.attributes][:3] == [SetPersonality, SetMemoryPolicy, SetScheduler]
    assert process.affinity == ((0, 1, 2, 3, 7), (1,))
    assert process.labels == (("apparmor/exec", "exec profile"), ("exec", "system_u:system_r:x_t:s0"))
    assert process.listener is not None
    assert process.listener.state == {
        "ociVersion": "1.3.0", "id": "c", "bundle": "/bundle", "annotations": {"org.example": "x"},
    }  # fmt: skip
    assert plan.hooks is not None
    assert plan.hooks.poststop[0].timeout_s == 3
    assert 'context="system_u:object_r:x_t:s0"' in only(plan, steps.Mount)[1].data


def test_every_step_of_it_can_be_executed_described_and_sent() -> None:
    plan = make_plan(FULL)
    planned = (*plan.entry, *plan.setup, *plan.process.attributes)
    execute.load(planned)
    assert {type(step) for step in planned} <= set(execute.EXECUTORS)
    assert all(isinstance(line, str) and line for line in plan.describe())
    assert decode_plan(json.loads(json.dumps(encode_plan(plan)))) == plan


def test_the_smallest_configuration() -> None:
    plan = make_plan(
        {"ociVersion": "1.0.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "mount"}]}}
    )
    assert plan.process.args == ()
    assert plan.hooks is None
    assert not plan.needs_helper
    assert steps.BindRootfs("/bundle/r", "/bundle/r") in plan.setup


def test_layers_have_the_mounts_label() -> None:
    (step,) = only(make_plan(FULL, overlay=Overlay(("/l",), "/u", "/w")), steps.MountOverlay)
    assert step.label == FULL["linux"]["mountLabel"] != ""


def test_layers_are_idmapped_in_a_user_namespace_only() -> None:
    overlay = Overlay(("/l",), "/u", "/w")
    assert only(make_plan(FULL, overlay=overlay), steps.MountOverlay)[0].idmap
    plain = changed(linux={"namespaces": [{"type": "mount"}, {"type": "uts"}], "uidMappings": None, "gidMappings": None,
                           "timeOffsets": None, "netDevices": None, "sysctl": None})  # fmt: skip
    assert not only(make_plan(plain, overlay=overlay), steps.MountOverlay)[0].idmap


def test_unknown_properties_are_ignored() -> None:
    config = changed(linux={"fromTheFuture": {"x": 1}}, process={"alsoNew": [1]})
    assert make_plan({**config, "windows": {"x": 1}}) == make_plan(FULL)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(root={"path": ""}), "root.path: expected"),
        (changed(process={"args": []}), "process.args: expected"),
        (changed(process={"cwd": "tmp"}), "process.cwd: expected an absolute path"),
        (changed(process={"oomScoreAdj": 1001}), "process.oomScoreAdj: expected a number from -1000 to 1000"),
        (changed(process={"user": {"umask": 512}}), "process.user.umask: expected"),
        (changed(process={"rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}), r"process.rlimits\[0\].type: expected one of RLIMIT_CPU"),
        (changed(process={"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}), r"process.rlimits\[0\].soft: expected at most"),
        (changed(process={"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}), r"process.rlimits\[1\].type: RLIMIT_CPU is given twice"),
        (changed(process={"scheduler": {"policy": "SCHED_X"}}), "process.scheduler.policy: expected one of SCHED_OTHER"),
        (changed(process={"scheduler": {"policy": "SCHED_FIFO", "priority": 0}}), "process.scheduler.priority: expected a number from 1"),
        (changed(process={"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}), "process.scheduler.nice"),
        (changed(process={"scheduler": {"policy": "SCHED_OTHER", "runtime": 5}}), "process.scheduler.runtime"),
        (changed(process={"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}}), "process.ioPriority.priority"),
        (changed(process={"execCPUAffinity": {"initial": "3-1"}}), "process.execCPUAffinity.initial"),
        (changed(process={"execCPUAffinity": {"final": "a"}}), "process.execCPUAffinity.final: expected a list"),
        (changed(linux={"namespaces": [{"type": "mount"}, {"type": "mount"}]}), r"linux.namespaces\[1\].type: mount is given twice"),
        (changed(linux={"namespaces": [{"type": "moon"}]}), r"linux.namespaces\[0\].type: expected one of"),
        (changed(linux={"namespaces": [{"type": "mount", "path": "x"}]}), r"linux.namespaces\[0\].path: expected an absolute"),
        (changed(linux={"namespaces": []}), "linux.namespaces: expected a mount namespace"),
        (changed(linux={"uidMappings": None}), "linux.uidMappings: expected at least one"),
        (changed(linux={"uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]}), r"linux.uidMappings\[0\].size"),
        (changed(linux={"namespaces": [{"type": "mount"}]}), "linux.uidMappings: set without a user namespace"),
        (changed(linux={"timeOffsets": {"realtime": {"secs": 1}}}), "linux.timeOffsets: expected monotonic or boottime"),
        (changed(linux={"timeOffsets": {"boottime": {"nanosecs": 1_000_000_000}}}), "linux.timeOffsets.boottime.nanosecs"),
        (changed(linux={"netDevices": {"a/b": {}}}), "linux.netDevices: 'a/b'"),
        (changed(linux={"netDevices": {"a": {"name": "c"}, "b": {"name": "c"}}}), "linux.netDevices: c is given twice"),
        (changed(linux={"namespaces": [{"type": "mount"}, {"type": "time"}, {"type": "network"}, {"type": "user", "path": "/x"}], "sysctl": None}), "linux.netDevices: .*joined by path"),
        (changed(linux={"intelRdt": {"closID": "../x"}}), "linux.intelRdt.closID"),
        (changed(linux={"memoryPolicy": {"mode": "MPOL_X"}}), "linux.memoryPolicy.mode: expected one of"),
        (changed(linux={"personality": {"domain": "SVR4"}}), "linux.personality.domain: expected one of LINUX"),
        (changed(linux={"sysctl": {"vm.swappiness": "1"}}), "linux.sysctl: vm.swappiness is the host's own"),
        (changed(linux={"sysctl": {"net/../vm/swappiness": "1"}}), "linux.sysctl"),
        (changed(linux={"rootfsPropagation": "rx"}), "linux.rootfsPropagation: expected one of"),
        (changed(linux={"maskedPaths": ["/"]}), r"linux.maskedPaths\[0\]: expected a path below the root"),
        (changed(linux={"readonlyPaths": ["proc"]}), r"linux.readonlyPaths\[0\]: expected an absolute path"),
        (changed(linux={"devices": [{"type": "x", "path": "/dev/x"}]}), r"linux.devices\[0\].type: expected one of c, u, b, p"),
        (changed(linux={"devices": [{"type": "c", "path": "/dev/x", "major": 5000}]}), r"linux.devices\[0\].major"),
        (changed(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}]}}), "linux.seccomp.listenerPath"),
        (changed(hooks={"poststop": [{"path": "hook"}]}), r"hooks.poststop\[0\].path: expected an absolute"),
        (changed(hooks={"prestart": [{"path": "/x", "timeout": 0}]}), r"hooks.prestart\[0\].timeout: expected a number from 1"),
        ({**FULL, "hostname": "x" * 65}, "hostname: length"),
        ({**FULL, "mounts": [{"destination": "x", "type": "proc"}]}, r"mounts\[0\].destination: expected an absolute"),
        ({**FULL, "mounts": [{"destination": "/x"}]}, r"mounts\[0\].type: expected"),
        ({**FULL, "mounts": [{"destination": "/x", "type": "bind"}]}, r"mounts\[0\].source: expected"),
        ({**FULL, "mounts": [{"destination": "/x", "type": "proc", "options": ["idmap"]}]}, r"mounts\[0\]: expected a bind mount"),
        ({**FULL, "mounts": [{"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}]}, r"mounts\[0\]: expected type tmpfs"),
    ],
)  # fmt: skip
def test_an_error_names_the_path_and_what_was_expected(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^config\.json: {message}"):
        make_plan(config)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (changed(process={"selinuxLabel": None}, linux={"mountLabel": None}), "process.apparmorProfile"),
        (changed(process={"apparmorProfile": None}, linux={"mountLabel": None}), "process.selinuxLabel"),
        (changed(process={"apparmorProfile": None, "selinuxLabel": None}), "linux.mountLabel"),
    ],
)
def test_labels_are_refused_by_name_where_the_kernel_has_no_such_module(
    config: dict[str, Any], where: str
) -> None:
    with pytest.raises(FailedPrecondition, match=rf"{where}: this kernel does not run"):
        make_plan(config, Host(-1))


def test_an_unconfined_profile_needs_no_apparmor() -> None:
    config = changed(
        process={"apparmorProfile": "unconfined", "selinuxLabel": None}, linux={"mountLabel": None}
    )
    assert make_plan(config, Host(-1)).process.labels == ()


def test_version_1_cgroups_mounted_together_share_a_directory() -> None:
    plan = make_plan(FULL)
    data = {step.target: step.data for step in only(plan, steps.Mount) if step.fstype == "cgroup"}
    assert data == {"/sys/fs/cgroup/cpu,cpuacct": "cpu,cpuacct", "/sys/fs/cgroup/memory": "memory"}
    links = {step.target: step.points_to for step in only(plan, steps.MakeSymlink)}
    assert links["/sys/fs/cgroup/cpu"] == "cpu,cpuacct"


def test_version_2_cgroup_in_a_cgroup_namespace() -> None:
    plan = make_plan(FULL, HOST._replace(cgroups={"": "/cg/x"}))
    mounted = [step for step in only(plan, steps.Mount) if step.fstype == "cgroup2"]
    assert [(step.target, bool(step.flags & m.MS_RDONLY)) for step in mounted] == [("/sys/fs/cgroup", True)]


@pytest.mark.parametrize(
    ("rdt", "group"),
    [
        ({"closID": "/"}, ""),
        ({"schemata": ["L3:0=f"]}, "c"),
        ({"closID": "x", "schemata": ["L3:0=f"]}, "x"),
        ({"enableMonitoring": True}, ""),
    ],
)
def test_classes_of_service(rdt: dict[str, Any], group: str) -> None:
    assert only(make_plan(changed(linux={"intelRdt": rdt})), steps.JoinResctrl)[0].group == group


@pytest.mark.parametrize(("options", "owned"), [(["rw"], True), (["ro"], False)])
def test_a_writable_version_2_group_belongs_to_the_containers_root(options: list[str], owned: bool) -> None:
    config = {**FULL, "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}]}
    plan = make_plan(config, HOST._replace(cgroups={"": "/cg/x"}))
    assert (steps.OwnCgroup("/cg/x", 1000) in plan.entry) is owned


def test_a_configured_device_takes_the_place_of_a_default_one() -> None:
    own = {"type": "c", "path": "/dev/null", "major": 7, "minor": 7}
    devices = only(make_plan(changed(linux={"devices": [own]})), steps.MakeDevice)
    assert [(step.major, step.minor) for step in devices if step.target == "/dev/null"] == [(7, 7)]


@pytest.mark.parametrize(
    ("text", "numbers"), [("", ()), ("0", (0,)), ("0-2,5", (0, 1, 2, 5)), (" 1 , 3-3", (1, 3))]
)
def test_lists_of_cpus(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_list(text, 8, "x") == numbers


@settings(max_examples=max(300, settings.default.max_examples))
@given(mutated())
def test_a_broken_configuration_is_planned_or_refused_with_one_line(config: dict[str, Any]) -> None:
    try:
        plan = make_plan(config)
    except Error as error:
        assert isinstance(error, InvalidArgument | FailedPrecondition)
        assert error.message.startswith("config.json: ")
        assert "\n" not in error.message
    else:
        assert decode_plan(json.loads(json.dumps(encode_plan(plan)))) == plan
        assert all(isinstance(line, str) for line in plan.describe())
