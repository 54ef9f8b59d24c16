"""The same bundle run by rundlet-runtime, runc and crun: what a container sees, and how it ends, must agree.

A case changes the example configuration and runs a script in the container; its output
and exit code are compared.  To add one: a line in CASES, or in REFUSED for a
configuration that every runtime must turn down.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.oci.runtime import Change, Outcome, Runtime, find_ours, find_peer, make_config, write_config

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

PEERS = ("runc", "crun")


def process(**fields: Any) -> Change:
    return lambda config: config["process"].update(fields)


class Case(NamedTuple):
    name: str
    script: str
    change: Change = process()
    peers: tuple[str, ...] = PEERS


def user(**fields: Any) -> Change:
    return lambda config: config["process"]["user"].update(fields)


def linux(**fields: Any) -> Change:
    return lambda config: config["linux"].update(fields)


def resources(**fields: Any) -> Change:
    return lambda config: config["linux"]["resources"].update(fields)


def mount(destination: str, kind: str, source: str, *options: str) -> Change:
    entry = {"destination": destination, "type": kind, "source": source, "options": [*options]}
    return lambda config: config["mounts"].append(entry)


def capabilities(**sets: list[str]) -> Change:
    return lambda config: config["process"].update(capabilities=sets)


def namespaces(*kinds: str) -> Change:
    return lambda config: config["linux"].update(namespaces=[{"type": kind} for kind in kinds])


def both(*changes: Change) -> Change:
    def change(config: dict[str, Any]) -> None:
        for part in changes:
            part(config)

    return change


def seccomp(default: str, *calls: dict[str, Any]) -> Change:
    return linux(
        seccomp={"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [*calls]}
    )


STATUS = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid|Groups|Umask)' /proc/self/status"
MOUNTS = "cut -d' ' -f5,6 /proc/self/mountinfo | sort"
SOME = ["CAP_CHOWN", "CAP_NET_RAW", "CAP_KILL"]
HOST = "/usr/share"

CASES = [
    Case("plain", "echo hello; exit 0"),
    Case("exit code", "exit 42"),
    Case("killed", "kill -KILL $$", namespaces("mount", "uts")),
    Case("a signal's exit code", "(sleep 10 & kill -TERM $!; wait $!)", namespaces("mount", "pid")),
    Case("mounts", "cut -d' ' -f5 /proc/self/mountinfo | grep -v cgroup | sort"),
    Case("mount options", f"{MOUNTS} | grep -v -e cgroup -e ^/sys -e ^/proc/keys -e ^/proc/timer_list"),
    Case("status", STATUS),
    Case("status of a user", STATUS, user(uid=1000, gid=1000, additionalGids=[5, 6, 7])),
    Case("identity", "id -u; id -g; id -G", user(uid=1000, gid=1001, additionalGids=[10, 20])),
    Case("umask", "umask", user(umask=0o27)),
    Case("default umask", "umask"),
    Case("environment", "env | grep -v ^HOME | sort", process(env=["PATH=/bin", "A=1", "B=x y", "EMPTY="])),
    Case("home of root", "echo $HOME"),
    Case("home from passwd", "echo $HOME", user(uid=1000, gid=1000)),
    Case("home given", "echo $HOME", process(env=["PATH=/bin", "HOME=/somewhere"])),
    Case("working directory", "pwd", process(cwd="/data")),
    Case("working directory made", "pwd", process(cwd="/made/by/the/runtime")),
    Case("hostname", "hostname", lambda config: config.update(hostname="some-name")),
    Case("no new privileges", "grep NoNewPrivs /proc/self/status", process(noNewPrivileges=False)),
    Case("limits", "ulimit -n; ulimit -Hn; ulimit -c", process(
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])),
    Case("oom score", "cat /proc/self/oom_score_adj", process(oomScoreAdj=321)),
    Case("capabilities", STATUS, capabilities(bounding=SOME, effective=SOME, permitted=SOME)),
    Case("capabilities, bounding only", STATUS, capabilities(bounding=SOME)),
    Case("capabilities, none", STATUS, capabilities()),
    Case("capabilities, ambient", STATUS, both(
        capabilities(bounding=SOME, effective=SOME, permitted=SOME, inheritable=SOME, ambient=SOME),
        user(uid=1000, gid=1000))),
    Case("device nodes", "cd /dev; stat -c '%n %t %T %a %u %g' null zero full random urandom tty; readlink fd stdin stdout stderr"),
    Case("a device of the configuration", "stat -c '%F %t %T %a %u %g' /dev/odd", linux(
        devices=[{"path": "/dev/odd", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4}])),
    Case("a fifo of the configuration", "stat -c '%F %a' /dev/pipe", linux(
        devices=[{"path": "/dev/pipe", "type": "p", "fileMode": 0o622}])),
    Case("device access", "mknod /tmp/m c 1 11; (: < /tmp/m) 2>&1 | cut -d: -f3; : < /dev/null && echo null", both(
        capabilities(bounding=["CAP_MKNOD"], effective=["CAP_MKNOD"], permitted=["CAP_MKNOD"]),
        resources(devices=[{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "m"}]))),
    Case("read-only root", "touch /new 2>&1; touch /tmp/new 2>&1; echo $?", lambda config: config["root"].update(readonly=True)),
    Case("masked file", "cat /data/file; ls -l /data/file | cut -c1", linux(maskedPaths=["/data/file"])),
    Case("masked directory", "ls /data; touch /data/x 2>&1", linux(maskedPaths=["/data"])),
    Case("masked and missing", "ls /nowhere 2>&1", linux(maskedPaths=["/nowhere"])),
    Case("read-only path", "touch /data/x 2>&1; cat /data/file", linux(readonlyPaths=["/data", "/nowhere"])),
    Case("bind", "ls -d /mnt/doc", mount("/mnt", "bind", HOST, "bind")),
    Case("bind, type none", "ls -d /mnt/doc", mount("/mnt", "none", HOST, "rbind")),
    Case("bind read-only", f"touch /mnt/x 2>&1; {MOUNTS} | grep ^/mnt", mount("/mnt", "bind", HOST, "bind", "ro", "nosuid", "noexec")),
    Case("bind of a file", "wc -l < /etc/hosts > /dev/null && echo there", mount("/etc/hosts", "bind", "/etc/hostname", "bind")),
    Case("bind below a made directory", "ls -d /a/b/c/doc", mount("/a/b/c", "bind", HOST, "rbind", "rprivate")),
    Case("tmpfs", f"{MOUNTS} | grep ^/mnt; stat -c %a /mnt; dd if=/dev/zero of=/mnt/x bs=1k count=200 2>/dev/null; stat -c %s /mnt/x",
         mount("/mnt", "tmpfs", "tmpfs", "nosuid", "nodev", "size=64k", "mode=711"), ("crun",)),
    Case("mqueue", "touch /dev/mqueue/q && ls /dev/mqueue"),
    Case("mount order", "cat /mnt/a/file; ls /mnt", both(
        mount("/mnt", "tmpfs", "tmpfs"), mount("/mnt/a", "bind", "rootfs/data", "bind"))),
    Case("mount through a link in the rootfs", "ls -d /data/link/doc 2>&1", mount("/data/link", "bind", HOST, "bind")),
    Case("sysctl", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", linux(
        sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "4321"})),
    Case("own namespaces", "readlink /proc/self/ns/mnt > /dev/null; ls /proc/1/fd > /dev/null; echo $$"),
    Case("no pid namespace", "test $$ -gt 1 && echo host", namespaces("mount", "uts")),
    Case("network of its own", "cut -d: -f1 /proc/net/dev | grep -v '|' | tr -d ' '"),
    Case("cgroup namespace", "cut -d: -f3 /proc/self/cgroup | sort -u", both(
        namespaces("mount", "pid", "cgroup"), lambda config: config["mounts"].pop())),
    Case("memory limit", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", resources(memory={"limit": 64 << 20})),
    Case("memory and swap", "cat /sys/fs/cgroup/memory/memory.soft_limit_in_bytes", resources(
        memory={"limit": 64 << 20, "reservation": 32 << 20})),
    Case("cpu", "cd /sys/fs/cgroup/cpu; cat cpu.shares cpu.cfs_quota_us cpu.cfs_period_us", resources(
        cpu={"shares": 300, "quota": 20000, "period": 50000})),
    Case("cpuset", "cat /sys/fs/cgroup/cpuset/cpuset.cpus", resources(cpu={"cpus": "0"})),
    Case("pids", "cat /sys/fs/cgroup/pids/pids.max", resources(pids={"limit": 33})),
    Case("cgroup mount is read-only", "mkdir /sys/fs/cgroup/pids/x 2>&1 | cut -d: -f3; ls /sys/fs/cgroup | grep -c pids"),
    Case("out of memory", "dd if=/dev/zero of=/dev/null bs=200M count=1; echo survived", resources(
        memory={"limit": 30 << 20, "swap": 30 << 20})),
    Case("seccomp mode", "grep Seccomp: /proc/self/status", seccomp("SCMP_ACT_ALLOW")),
    Case("seccomp errno", "mkdir /tmp/d 2>&1; echo $?", seccomp("SCMP_ACT_ALLOW", {
        "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28})),
    Case("seccomp kill", "mkdir /tmp/d; echo $?", seccomp("SCMP_ACT_ALLOW", {
        "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"})),
    Case("seccomp argument", "nice -n 5 true 2>&1; nice true; echo $?", both(process(noNewPrivileges=False), seccomp(
        "SCMP_ACT_ALLOW", {"names": ["setpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                           "args": [{"index": 2, "value": 5, "op": "SCMP_CMP_EQ"}]}))),
    Case("unknown property", "echo fine", lambda config: config.update(nobodyKnowsThis={"x": [1]})),
    Case("annotations", "echo fine", lambda config: config.update(annotations={"a.b": "c", "d": ""})),
    Case("shared propagation", "cut -d' ' -f5,7 /proc/self/mountinfo | grep '^/ '", linux(rootfsPropagation="rprivate")),
    Case("stdin", "cat"),
    Case("stderr", "echo out; echo err >&2"),
]  # fmt: skip

REFUSED: dict[str, Change] = {
    "no args": process(args=[]),
    "relative cwd": process(cwd="relative"),
    "unknown limit": process(rlimits=[{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]),
    "soft above hard": process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]),
    "missing program": process(args=["/nosuch"]),
    "missing program on the path": process(args=["nosuch"]),
    "a directory as program": process(args=["/data"]),
    "a file that is not executable": process(args=["/data/file"]),
    "duplicate namespace": namespaces("mount", "pid", "pid"),
    "unknown namespace": namespaces("mount", "nosuch"),
    "hostname without uts": both(namespaces("mount", "pid"), lambda config: config.update(hostname="x")),
    "missing namespace file": linux(namespaces=[{"type": "mount"}, {"type": "network", "path": "/nosuch"}]),
    "a namespace of another kind": linux(namespaces=[{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/uts"}]),
    "missing bind source": mount("/mnt", "bind", "/nosuch", "bind"),
    "unknown file system": mount("/mnt", "nosuchfs", "none"),
    "bad tmpfs option": mount("/mnt", "tmpfs", "tmpfs", "nosuchoption=1"),
    "unknown sysctl": linux(sysctl={"net.nosuch": "1"}),
    "sysctl of the host": linux(sysctl={"vm.swappiness": "10"}),
    "unknown seccomp action": seccomp("SCMP_ACT_NOSUCH"),
    "unknown seccomp operator": seccomp("SCMP_ACT_ALLOW", {
        "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NOSUCH"}]}),
    "bad oom score": process(oomScoreAdj=5000),
    "wrong type": process(args="sh"),
    "missing rootfs": lambda config: config.update(root={"path": "nosuch"}),
    "bad cpuset": resources(cpu={"cpus": "9999"}),
    "bad memory limit": resources(memory={"limit": "much"}),
    "unknown device type": linux(devices=[{"path": "/dev/x", "type": "q", "major": 1, "minor": 1}]),
}  # fmt: skip


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Runtime]:
    directory = tmp_path_factory.mktemp("states")

    def get(name: str) -> Runtime:
        program = find_ours() if name == "ours" else find_peer(name)
        (directory / name).mkdir(exist_ok=True)
        return Runtime(program, directory / name / "state")

    return get


def run(runtime: Runtime, bundle: Path, config: dict[str, Any], stdin: str = "") -> Outcome:
    write_config(bundle, config)
    outcome = runtime("run", "--bundle", str(bundle), "case", stdin=stdin)
    assert runtime.leftovers() == []
    return outcome


def tidy(bundle: Path) -> None:
    """What a case may have written into the shared rootfs."""
    for path in (bundle / "rootfs/tmp/m", bundle / "rootfs/tmp/new", bundle / "rootfs/data/x"):
        path.unlink(missing_ok=True)
    for path in (bundle / "rootfs/tmp/d", bundle / "rootfs/made/by/the/runtime"):
        if path.is_dir():
            path.rmdir()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_container_is_the_same(case: Case, runtimes: Callable[[str], Runtime], shared_bundle: Path) -> None:
    config = make_config("sh", "-c", case.script, change=case.change)
    outcomes = {}
    for name in ("ours", *case.peers):
        tidy(shared_bundle)
        outcome = run(runtimes(name), shared_bundle, config, stdin="words\n")
        outcomes[name] = (outcome.code, outcome.stdout)
    for peer in case.peers:
        assert outcomes["ours"] == outcomes[peer], (peer, outcomes)


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_by_all(
    name: str, runtimes: Callable[[str], Runtime], shared_bundle: Path
) -> None:
    config = make_config("sh", "-c", "echo ran", change=REFUSED[name])
    outcome = run(runtimes("ours"), shared_bundle, config)
    assert outcome.code == 1
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    refusing = [peer for peer in PEERS if run(runtimes(peer), shared_bundle, config).code != 0]
    assert refusing, "no peer refuses this: is it wrong at all?"


LIFECYCLE = [
    ("create", "start", "state", "kill", "delete"),
    ("start",),
    ("state",),
    ("kill",),
    ("delete",),
    ("create", "create"),
    ("create", "start", "start"),
    ("create", "start", "delete"),
    ("create", "kill", "start"),
    ("create", "kill", "state", "delete"),
    ("create", "start", "pause", "state", "resume", "state"),
    ("create", "start", "resume"),
    ("create", "start", "exec", "kill", "exec"),
    ("create", "start", "kill", "kill"),
]


def follow(runtime: Runtime, bundle: Path, commands: tuple[str, ...]) -> list[Any]:
    """What each command's end was: success, or failure; of `state` also what it says."""
    words = {"create": ["--bundle", str(bundle), "lc"], "kill": ["lc", "KILL"], "exec": ["lc", "true"]}
    ends: list[Any] = []
    for command in commands:
        outcome = runtime(command, *words.get(command, ["lc"]))
        if command == "kill" and outcome.code == 0:
            while runtime.state("lc")["status"] != "stopped":
                pass
        ok = outcome.code == 0
        ends.append(json.loads(outcome.stdout)["status"] if command == "state" and ok else ok)
    runtime("delete", "--force", "lc")
    assert runtime.leftovers() == []
    return ends


@pytest.mark.parametrize("commands", LIFECYCLE, ids="-".join)
def test_commands_in_any_order_end_alike(
    commands: tuple[str, ...], runtimes: Callable[[str], Runtime], shared_bundle: Path
) -> None:
    write_config(shared_bundle, make_config("sleep", "1000"))
    assert follow(runtimes("ours"), shared_bundle, commands) == follow(
        runtimes("runc"), shared_bundle, commands
    )


def test_the_features_document_has_all_of_runc(runtimes: Callable[[str], Runtime]) -> None:
    ours = json.loads(runtimes("ours").ok("features"))
    theirs = json.loads(runtimes("runc").ok("features"))
    assert set(theirs["mountOptions"]) <= set(ours["mountOptions"])
    assert ours["hooks"] == theirs["hooks"]
    for key in ("namespaces", "capabilities"):
        assert set(theirs["linux"][key]) <= set(ours["linux"][key])
    for key in ("actions", "operators", "archs"):
        assert set(theirs["linux"]["seccomp"][key]) <= set(ours["linux"]["seccomp"][key])
