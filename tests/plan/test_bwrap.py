"""config.json → bubblewrap: what is mapped, and that nothing is left out in silence."""

import pytest

from rundlet.errors import InvalidArgument
from rundlet.plan.bwrap import covered_paths, describe_bwrap, plan_bwrap
from rundlet.plan.container import CgroupPlan
from rundlet.plan.external import OciPlan, decode_external, encode_external
from rundlet.spec.model import from_json
from rundlet.spec.runtime import RuntimeConfig

PROCESS = {"cwd": "/", "args": ["sh", "-c", "true"]}
NAMESPACES = [{"type": "mount"}]


def make_config(**parts: object) -> dict[str, object]:
    linux = {"namespaces": NAMESPACES, **parts.pop("linux", {})}
    process = {**PROCESS, **parts.pop("process", {})}
    return {"ociVersion": "1.2.0", "root": {"path": "/b/rootfs"}, "process": process, "linux": linux, **parts}


def plan(kinds: dict[str, str] | None = None, **parts: object):
    document = from_json(RuntimeConfig, make_config(**parts))
    return plan_bwrap("c1", document, program="/usr/bin/bwrap", kinds=kinds or {})


def options(**parts: object) -> str:
    return " ".join(plan(**parts).options)


def mounts(*items: dict[str, object]) -> str:
    return options(mounts=list(items))


def test_the_least():
    made = plan()
    assert made.command == ("sh", "-c", "true")
    assert made.options == ("--cap-drop", "ALL", "--dev-bind", "/b/rootfs", "/", "--clearenv", "--chdir", "/")
    assert describe_bwrap(made) == ["# supplementary groups none"]


@pytest.mark.parametrize(
    ("namespaces", "wanted", "join", "pid"),
    [
        ([{"type": "pid"}], "--unshare-pid --cap-drop", (), ""),
        ([{"type": "network"}, {"type": "cgroup"}], "--unshare-net --unshare-cgroup --cap-drop", (), ""),
        (
            [{"type": "ipc", "path": "/i"}, {"type": "uts", "path": "/u"}],
            "",
            (("ipc", "/i"), ("uts", "/u")),
            "",
        ),
        ([{"type": "pid", "path": "/p"}, {"type": "network", "path": "/n"}], "", (("network", "/n"),), "/p"),
        ([{"type": "user"}], "--unshare-user --uid 0 --gid 0", (), ""),
    ],
)
def test_namespaces(namespaces, wanted, join, pid):
    made = plan(linux={"namespaces": NAMESPACES + namespaces})
    assert wanted in " ".join(made.options)
    assert (made.join, made.pid_namespace) == (join, pid)
    assert ("--as-pid-1" in made.options) == ({"type": "pid"} in namespaces)


def test_process():
    made = plan(
        process={
            "cwd": "/data",
            "env": ["A=1=2", "B="],
            "user": {"uid": 0, "gid": 0, "additionalGids": [5, 6]},
            "capabilities": {
                name: ["CAP_KILL", "CAP_CHOWN"] for name in ("bounding", "effective", "permitted")
            },
            "selinuxLabel": "a_t",
            "oomScoreAdj": 300,
            "noNewPrivileges": True,
        },
        linux={"mountLabel": "b_t"},
    )
    text = " ".join(made.options)
    assert "--cap-drop ALL --cap-add CAP_KILL --cap-add CAP_CHOWN" in text
    assert "--clearenv --setenv A 1=2 --setenv B  --exec-label a_t --file-label b_t --chdir /data" in text
    assert (made.groups, made.oom_score_adj) == ((5, 6), 300)


def test_another_user_needs_a_user_namespace():
    assert "--unshare-user --uid 999 --gid 1000" in options(process={"user": {"uid": 999, "gid": 1000}})


def test_hostname():
    assert "--hostname box" in options(hostname="box", linux={"namespaces": [*NAMESPACES, {"type": "uts"}]})


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ({"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]}, "--proc /proc"),
        ({"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]}, "--dev /dev"),
        ({"destination": "/dev", "type": "devtmpfs"}, "--dev /dev"),
        ({"destination": "/dev/mqueue", "type": "mqueue"}, "--mqueue /dev/mqueue"),
        (
            {"destination": "/tmp", "type": "tmpfs", "options": ["nosuid", "size=2m", "mode=1777"]},
            "--size 2097152 --perms 1777 --tmpfs /tmp",
        ),
        ({"destination": "/t", "type": "tmpfs", "options": ["ro"]}, "--tmpfs /t --remount-ro /t"),
        ({"destination": "/sys", "type": "sysfs", "options": ["ro", "noexec"]}, "--ro-bind /sys /sys"),
        ({"destination": "/cg", "type": "cgroup"}, "--bind /sys/fs/cgroup /cg"),
        ({"destination": "/a", "type": "bind", "source": "/h", "options": ["rbind"]}, "--dev-bind /h /a"),
        (
            {"destination": "/a", "source": "/h", "options": ["rbind", "nodev", "rprivate"]},
            "--bind /h /a",
        ),
        (
            {"destination": "/a", "type": "bind", "source": "/h", "options": ["rbind", "rro"]},
            "--ro-bind /h /a",
        ),
    ],
)
def test_mounts(item, wanted):
    assert f"--dev-bind /b/rootfs / {wanted} --clearenv" in mounts(item)


def test_devpts_is_part_of_dev():
    dev = {"destination": "/dev", "type": "tmpfs"}
    pts = {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "gid=5"]}
    assert "/dev/pts" not in mounts(dev, pts)


def test_masked_and_readonly_paths():
    linux = {
        "maskedPaths": ["/proc/kcore", "/sys/firmware", "/gone"],
        "readonlyPaths": ["/proc/sys", "/proc/fs", "/etc", "/gone"],
    }
    proc = {"destination": "/proc", "type": "proc"}
    config = make_config(linux=linux, mounts=[proc], root={"path": "/b/rootfs", "readonly": True})
    document = from_json(RuntimeConfig, config)
    kinds = dict.fromkeys(covered_paths(document), "directory") | {"/proc/kcore": "file"}
    del kinds["/gone"]
    text = " ".join(plan_bwrap("c1", document, program="bwrap", kinds=kinds).options)
    wanted = (
        "--ro-bind /dev/null /proc/kcore --tmpfs /sys/firmware --remount-ro /sys/firmware"
        " --ro-bind /proc/fs /proc/fs --ro-bind /b/rootfs/etc /etc --remount-ro / --clearenv"
    )
    assert wanted in text


BIND = {"destination": "/a", "type": "bind", "source": "/h"}


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"process": {"args": []}}, "process.args"),
        ({"process": {"terminal": True}}, "process.terminal"),
        ({"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}}, "process.rlimits"),
        ({"process": {"apparmorProfile": "p"}}, "process.apparmorProfile"),
        ({"process": {"user": {"umask": 18}}}, "process.user.umask"),
        ({"process": {"user": {"uid": 1, "additionalGids": [2]}}}, "process.user.additionalGids"),
        ({"process": {"capabilities": {"ambient": ["CAP_KILL"]}}}, "process.capabilities.ambient"),
        ({"process": {"capabilities": {"effective": ["CAP_KILL"]}}}, "process.capabilities.effective"),
        ({"process": {"scheduler": {"policy": "SCHED_FIFO"}}}, "process.scheduler"),
        ({"process": {"ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}}, "process.ioPriority"),
        ({"process": {"execCPUAffinity": {"initial": "0"}}}, "process.execCPUAffinity"),
        ({"root": {"path": "rootfs"}}, "root.path"),
        ({"hostname": "box"}, "hostname"),
        ({"domainname": "box"}, "domainname"),
        ({"hooks": {"prestart": [{"path": "/bin/true"}]}}, "hooks"),
        ({"linux": {"namespaces": []}}, "linux.namespaces"),
        ({"linux": {"namespaces": [{"type": "time"}, *NAMESPACES]}}, "linux.namespaces[0].type"),
        ({"linux": {"namespaces": [{"type": "user", "path": "/u"}]}}, "linux.namespaces[0].path"),
        ({"linux": {"namespaces": [{"type": "mount", "path": "/m"}]}}, "linux.namespaces[0].path"),
        ({"linux": {"devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}]}}, "linux.devices"),
        ({"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}}, "linux.sysctl"),
        ({"linux": {"rootfsPropagation": "rshared"}}, "linux.rootfsPropagation"),
        ({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 9}]}}, "linux.uidMappings"),
        ({"linux": {"intelRdt": {"closID": "c"}}}, "linux.intelRdt"),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}}},
         "linux.seccomp.flags"),
        ({"mounts": [{"destination": "/x", "type": "ext4"}]}, "mounts[0].type"),
        ({"mounts": [{"destination": "x", "type": "tmpfs"}]}, "mounts[0].destination"),
        ({"mounts": [{"destination": "/dev/pts", "type": "devpts"}]}, "mounts[0].type"),
        ({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["noexec"]}]}, "mounts[0].options[0]"),
        ({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["size=9%"]}]}, "mounts[0].options[0]"),
        ({"mounts": [{"destination": "/p", "type": "proc", "options": ["hidepid=2"]}]}, "mounts[0].options[0]"),
        ({"mounts": [BIND]}, "mounts[0].options"),
        ({"mounts": [{**BIND, "options": ["rbind", "noexec"]}]}, "mounts[0].options[1]"),
        ({"mounts": [{**BIND, "options": ["rbind", "rshared"]}]}, "mounts[0].options[1]"),
        ({"mounts": [{**BIND, "source": "h", "options": ["rbind"]}]}, "mounts[0].source"),
        ({"mounts": [{**BIND, "options": ["rbind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]},
         "mounts[0].uidMappings"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_refused_by_its_path(parts, path):
    with pytest.raises(InvalidArgument) as told:
        plan(**parts)
    assert told.value.message.startswith(f"{path}: ")


def test_plans_survive_the_wire():
    made = plan(process={"oomScoreAdj": 5, "user": {"additionalGids": [1]}})._replace(
        cgroup=CgroupPlan("/c", (("pids", "pids.max", "5"),)), join=(("ipc", "/i"),)
    )
    other = OciPlan("c1", "/usr/bin/runc", ("--root", "/r"), "/b", sandboxed=True)
    assert [decode_external(encode_external(item)) for item in (made, other)] == [made, other]
