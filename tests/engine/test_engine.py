"""Pods and containers for real: namespaces, mounts, cgroups, network, processes."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.engine.engine import Engine
from rundlet.engine.options import (
    ContainerFilter,
    ContainerOptions,
    Dns,
    Mount,
    Namespaces,
    PodFilter,
    PodOptions,
    Resources,
    Security,
    SecurityProfile,
)
from rundlet.engine.settings import Settings
from rundlet.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from rundlet.kernel.mount import MNT_DETACH, mount, umount

pytestmark = pytest.mark.kernel

TRAP = "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.05; done"
NODE = Security(namespaces=Namespaces(network="node", ipc="node", pid="node"))
OWN_PID = Security(namespaces=Namespaces(pid="container"))


def pod_options(name: str = "pod", **fields: object) -> PodOptions:
    return PodOptions(**({"name": name, "namespace": "default", "uid": f"uid-{name}"} | fields))


def shell(from_image: str, script: str, **fields: object) -> ContainerOptions:
    fixed = {"name": "main", "image": from_image, "command": ("sh", "-c", script)}
    return ContainerOptions(**(fixed | fields))


def run(engine: Engine, pod: str, options: ContainerOptions) -> str:
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    return container


def await_exit(engine: Engine, container: str, timeout_s: float = 10):
    """The status once it has exited."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = engine.containers.status(container)
        if status.state == "exited":
            return status
        time.sleep(0.01)
    raise AssertionError(f"container did not exit: {engine.containers.status(container)}")


def output_of(engine: Engine, pod: str, options: ContainerOptions) -> list[str]:
    """What a container of a pod with a log directory writes until it exits."""
    container = run(engine, pod, options)
    status = await_exit(engine, container)
    with open(status.log_path, encoding="utf-8") as file:
        lines = [line.split(" ", 3)[3].rstrip("\n") for line in file]
    engine.containers.remove(container)
    return lines


def await_text(path: str, text: str, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if os.path.exists(path) and text in Path(path).read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"{text!r} did not come in {path}")


def files_below(directory: str) -> list[str]:
    return [os.path.join(top, name) for top, _, names in os.walk(directory) for name in names]


def assert_nothing_left(settings: Settings, cgroup: str = "/engine-test") -> None:
    for directory in (settings.pods_dir, settings.containers_dir, f"{settings.root}/snapshots"):
        assert not os.path.exists(directory) or os.listdir(directory) == []
    left = [path for path in Group(detect_layout(), cgroup).directories().values() if os.path.exists(path)]
    assert left == []
    ports = "/sys/class/net/cni0/brif"  # the bridge itself waits a while for the next pod
    assert not os.path.exists(ports) or os.listdir(ports) == []
    # An idle keeper leaves a second later.
    idle = {f"{settings.run_root}/keeper/{name}" for name in ("pods", "containers")}
    with open("/proc/self/mounts", encoding="utf-8") as file:
        assert {line.split()[1] for line in file if settings.run_root in line} <= idle
    leases = os.path.join(os.path.dirname(settings.root), "leases")
    assert [path for path in files_below(leases) if "/10.88." in path] == []


@pytest.fixture
def logged(tmp_path: Path) -> dict[str, str]:
    return {"log_directory": str(tmp_path / "logs")}


# -- pods ---------------------------------------------------------------------


def test_a_pod_lives_and_leaves_nothing(empty_engine, settings):
    engine = empty_engine
    pod = engine.pods.run(pod_options(hostname="redis", labels={"app": "redis"}, dns=Dns(("10.96.0.10",))))
    status = engine.pods.status(pod[:10])
    assert status.state == "ready"
    assert status.ips == ("10.88.0.2",)
    assert status.created_at_ns > 0
    assert [found.id for found in engine.pods.list(PodFilter(labels={"app": "redis"}))] == [pod]
    directory = Path(settings.pods_dir, pod)
    assert (directory / "resolv.conf").read_text() == "nameserver 10.96.0.10\n"
    assert "10.88.0.2\tredis" in (directory / "hosts").read_text()
    engine.pods.stop(pod)
    engine.pods.stop(pod)
    assert engine.pods.status(pod).state == "notready"
    engine.pods.remove(pod)
    engine.pods.remove(pod)
    assert engine.pods.list() == []
    with pytest.raises(NotFound):
        engine.pods.status(pod)
    assert_nothing_left(settings)


def test_unknown_pods(empty_engine):
    empty_engine.pods.stop("ffff")
    empty_engine.pods.remove("ffff")
    with pytest.raises(NotFound):
        empty_engine.pods.status("ffff")


def test_names_conflict_until_removed(empty_engine):
    pod = empty_engine.pods.run(pod_options())
    with pytest.raises(AlreadyExists):
        empty_engine.pods.run(pod_options())
    empty_engine.pods.remove(pod)
    empty_engine.pods.run(pod_options())


def test_a_failed_run_leaves_nothing_and_can_be_tried_again(empty_engine, settings):
    conf = next(Path(settings.cni_conf_dir).iterdir())
    text = conf.read_text()
    conf.write_text(text.replace('"host-local"', '"no-such-plugin"'))
    with pytest.raises(Error):
        empty_engine.pods.run(pod_options())
    assert empty_engine.pods.list() == []
    assert_nothing_left(settings)
    conf.write_text(text)
    empty_engine.pods.run(pod_options())


@pytest.mark.parametrize("sysctls", [{"net.ipv4.no_such": "1"}, {"kernel.shm_rmid_forced": "text"}])
def test_a_wrong_sysctl_leaves_nothing(empty_engine, settings, sysctls):
    with pytest.raises(Error):
        empty_engine.pods.run(pod_options(sysctls=sysctls))
    assert_nothing_left(settings)


def test_an_unknown_runtime_handler(empty_engine):
    with pytest.raises(InvalidArgument, match="runtime_handler"):
        empty_engine.pods.run(pod_options(runtime_handler="kata"))


def test_pods_in_parallel(empty_engine, settings):
    with ThreadPoolExecutor(4) as pool:
        pods = list(pool.map(lambda n: empty_engine.pods.run(pod_options(f"pod{n}")), range(8)))
        ips = [empty_engine.pods.status(pod).ips for pod in pods]
        assert len(set(ips)) == 8
        list(pool.map(empty_engine.pods.remove, pods))
    assert_nothing_left(settings)


def test_a_parent_cgroup_of_others_stays(empty_engine, settings):
    parent = Group(detect_layout(), "/engine-kubepods")
    parent.make()
    try:
        pod = empty_engine.pods.run(pod_options(cgroup_parent="/engine-kubepods/pod1"))
        assert all(map(os.path.isdir, Group(detect_layout(), "/engine-kubepods/pod1").directories().values()))
        empty_engine.pods.remove(pod)
        assert not Group(detect_layout(), "/engine-kubepods/pod1").exists()
        assert parent.exists()
    finally:
        parent.remove()


def test_two_pods_share_a_cgroup_that_rundlet_made(empty_engine):
    pods = [empty_engine.pods.run(pod_options(name, cgroup_parent="/engine-shared/a")) for name in "ab"]
    empty_engine.pods.remove(pods[0])
    assert Group(detect_layout(), "/engine-shared/a").exists()
    empty_engine.pods.remove(pods[1])
    assert not Group(detect_layout(), "/engine-shared").exists()


def test_stats_of_a_pod(engine, image):
    pod = engine.pods.run(pod_options())
    run(engine, pod, shell(image, "while true; do :; done", security=OWN_PID))
    stats = engine.pods.stats(pod)
    assert stats.cpu.timestamp_ns > 0
    assert stats.memory.usage_bytes > 0
    assert [interface.name for interface in stats.interfaces] == ["eth0"]
    assert len(stats.containers) == 1
    assert [found.pod.id for found in engine.pods.list_stats()] == [pod]


def test_a_full_disk_is_told_and_leaves_nothing(settings, tmp_path):
    (tmp_path / "root").mkdir()
    mount("tmpfs", str(tmp_path / "root"), "tmpfs", 0, "size=2m")
    try:
        with Engine(settings) as engine:
            filler = tmp_path / "root/filler"
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(4 << 20))
            with pytest.raises(ResourceExhausted):
                engine.pods.run(pod_options(annotations={"long": "x" * 100_000}))
            assert files_below(settings.pods_dir) == []
            filler.unlink()
            engine.pods.remove(engine.pods.run(pod_options()))
            assert_nothing_left(settings)
    finally:
        umount(str(tmp_path / "root"), MNT_DETACH)


# -- containers -----------------------------------------------------------------


def test_a_container_lives_and_leaves_nothing(engine, image, settings, logged):
    pod = engine.pods.run(pod_options(**logged))
    container = engine.containers.create(pod, shell(image, TRAP, log_path="main/0.log"))
    created = engine.containers.status(container)
    assert created.state == "created"
    assert created.image_id.startswith("sha256:")
    assert created.log_path == f"{logged['log_directory']}/main/0.log"
    engine.containers.start(container[:12])
    assert engine.containers.status(container).state == "running"
    with pytest.raises(FailedPrecondition):
        engine.containers.start(container)
    await_text(created.log_path, "stdout F up\n")
    assert os.stat(created.log_path).st_mode & 0o007 == 0
    engine.containers.stop(container, 10)
    ended = engine.containers.status(container)
    assert (ended.state, ended.exit_code, ended.reason) == ("exited", 3, "Error")
    assert ended.created_at_ns < ended.started_at_ns < ended.finished_at_ns
    await_text(created.log_path, "stdout F bye\n")
    engine.containers.remove(container)
    engine.containers.remove(container)
    with pytest.raises(NotFound):
        engine.containers.status(container)
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_an_exit_is_recorded_by_itself(engine, image):
    pod = engine.pods.run(pod_options())
    container = run(engine, pod, shell(image, "true"))
    assert (await_exit(engine, container).reason, engine.containers.status(container).exit_code) == (
        "Completed",
        0,
    )


@pytest.fixture
def stubborn(engine, image, logged) -> str:
    """A container that runs and does not listen to SIGTERM."""
    pod = engine.pods.run(pod_options(**logged))
    script = "trap '' TERM; echo up; while true; do sleep 0.05; done"
    container = run(engine, pod, shell(image, script, log_path="0.log"))
    await_text(f"{logged['log_directory']}/0.log", "up")
    return container


def test_stop_kills_what_does_not_listen(engine, stubborn):
    container = stubborn
    engine.containers.stop(container, 0.2)
    assert engine.containers.status(container).exit_code == 137


def test_the_shortest_stop_wins(engine, stubborn):
    patient = threading.Thread(target=engine.containers.stop, args=(stubborn, 60))
    patient.start()
    engine.containers.stop(stubborn, 0)
    patient.join(10)
    assert not patient.is_alive()


def test_stopping_a_pod_kills_its_containers(engine, image):
    pod = engine.pods.run(pod_options())
    container = run(engine, pod, shell(image, "sleep 1000"))
    waiting = engine.containers.create(pod, shell(image, "true", name="second"))
    engine.pods.stop(pod)
    assert engine.containers.status(container).exit_code == 137
    assert engine.containers.status(waiting).state == "exited"
    with pytest.raises(FailedPrecondition):
        engine.containers.create(pod, shell(image, "true", name="third"))


def test_removing_a_pod_removes_running_containers(engine, image, settings):
    pod = engine.pods.run(pod_options())
    run(engine, pod, shell(image, "sleep 1000"))
    engine.pods.remove(pod)
    assert engine.containers.list() == []
    assert_nothing_left(settings)


def test_a_missing_program_is_told_and_nothing_runs(engine, image, settings):
    pod = engine.pods.run(pod_options())
    with pytest.raises(NotFound, match="no-such-program"):
        run(engine, pod, ContainerOptions(name="main", image=image, command=("no-such-program",)))
    engine.pods.remove(pod)
    assert_nothing_left(settings)


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "localhost/never:pulled"},
        {"security": Security(user_name="nobody-here")},
        {"security": Security(seccomp=SecurityProfile("localhost", "/no/such/profile"))},
        {"resources": Resources(cpuset_cpus="4000")},
    ],
)
def test_a_failed_create_leaves_nothing_and_can_be_tried_again(engine, image, settings, fields):
    pod = engine.pods.run(pod_options())
    with pytest.raises(Error):
        engine.containers.create(pod, shell(image, "true", **fields))
    assert engine.containers.list() == []
    assert files_below(settings.containers_dir) == []
    assert os.listdir(f"{settings.root}/snapshots") == []
    run(engine, pod, shell(image, "true"))


def test_names_of_containers_conflict(engine, image):
    pod = engine.pods.run(pod_options())
    engine.containers.create(pod, shell(image, "true"))
    with pytest.raises(AlreadyExists):
        engine.containers.create(pod, shell(image, "true"))
    engine.containers.create(pod, shell(image, "true", attempt=1))
    assert len(engine.containers.list(ContainerFilter(pod_id=pod[:8]))) == 2


def test_what_a_container_sees(engine, image, logged):
    pod = engine.pods.run(pod_options(hostname="redis", dns=Dns(("10.96.0.10",)), **logged))
    script = (
        "id; hostname; cat /etc/hostname /etc/resolv.conf; echo $FROM $MINE $HOME; pwd; ls /sys/class/net"
    )
    lines = output_of(
        engine,
        pod,
        shell(
            image,
            script,
            log_path="0.log",
            env=(("MINE", "yes"),),
            security=Security(user_name="redis", supplemental_groups=(1234,)),
        ),
    )
    assert lines == [
        "uid=999(redis) gid=1000(redis) groups=1000(redis),1234,50000(tape)",
        "redis",
        "redis",
        "nameserver 10.96.0.10",
        "image yes /data",
        "/data",
        "eth0",
        "lo",
    ]


def test_user_in_the_status(engine, image):
    pod = engine.pods.run(pod_options())
    container = engine.containers.create(pod, shell(image, "true", security=Security(user_id=999)))
    user = engine.containers.status(container).user
    assert (user.uid, user.gid, user.supplemental_groups) == (999, 1000, (1000, 50000))


def test_containers_of_a_pod_share_memory_names_and_processes(engine, image, logged):
    pod = engine.pods.run(pod_options(**logged))
    run(engine, pod, shell(image, "echo hello > /dev/shm/note; exec sleep 1000", log_path="first.log"))
    lines = output_of(
        engine,
        pod,
        shell(
            image,
            "until cat /dev/shm/note; do sleep 0.05; done 2>/dev/null; ps | grep -c '[s]leep 1000'",
            name="second",
            log_path="second.log",
        ),
    )
    assert lines == ["hello", "1"]


def test_a_container_with_its_own_processes_is_number_one(engine, image, logged):
    pod = engine.pods.run(pod_options(security=OWN_PID, **logged))
    assert output_of(engine, pod, shell(image, "echo $$", log_path="l", security=OWN_PID)) == ["1"]


def test_a_pod_of_the_node(engine, image, logged, settings):
    pod = engine.pods.run(pod_options(security=NODE, **logged))
    assert engine.pods.status(pod).ips == ()
    lines = output_of(engine, pod, shell(image, "hostname; ls /sys/class/net", log_path="l", security=NODE))
    assert lines[0] == os.uname().nodename
    assert "lo" in lines
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_mounts(engine, image, logged, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("from the host")
    (tmp_path / "link").symlink_to("real")
    pod = engine.pods.run(pod_options(**logged))
    mounts = (
        Mount(container_path="/mnt/in", host_path=str(tmp_path / "link"), readonly=True),
        Mount(container_path="/mnt/out", host_path=str(tmp_path / "made/by/engine")),
    )
    script = (
        "cat /mnt/in/file; echo; touch /mnt/in/x 2>/dev/null || echo read-only; echo written > /mnt/out/file"
    )
    assert output_of(engine, pod, shell(image, script, log_path="l", mounts=mounts)) == [
        "from the host",
        "read-only",
    ]
    assert (tmp_path / "made/by/engine/file").read_text() == "written\n"


def test_protection(engine, image, logged):
    pod = engine.pods.run(pod_options(**logged))
    script = (
        """
        touch /x 2>/dev/null || echo read-only root
        grep -E 'Seccomp:|NoNewPrivs:' /proc/self/status | tr -d '\\t'
        head -c1 /proc/kcore | wc -c
        echo 1 > /proc/sys/kernel/sysrq || echo read-only sysctl
    """.replace("grep -E", "busybox grep -E")
        .replace("| tr", "| busybox tr")
        .replace("wc -c", "busybox wc -c")
    )
    security = Security(
        readonly_rootfs=True, no_new_privileges=True, seccomp=SecurityProfile("runtime-default")
    )
    lines = output_of(engine, pod, shell(image, script, log_path="l", security=security))
    assert "read-only root" in lines
    assert "NoNewPrivs:1" in lines
    assert "Seccomp:2" in lines
    assert "0" in lines
    assert "read-only sysctl" in lines


def test_privileged(engine, image, logged):
    security = Security(privileged=True)
    pod = engine.pods.run(pod_options(security=security, **logged))
    script = "mount -t tmpfs none /tmp && echo mounted; ls /dev/kmsg"
    lines = output_of(engine, pod, shell(image, script, log_path="l", security=security))
    assert lines[0] == "mounted"
    assert ("/dev/kmsg" in lines) == os.path.exists("/dev/kmsg")


def test_resources_are_set_and_changed(engine, image):
    pod = engine.pods.run(pod_options())
    limits = Resources(memory_limit_bytes=32 << 20, cpu_shares=512, pids_limit=50)
    container = run(engine, pod, shell(image, "sleep 1000", resources=limits))
    stats = engine.containers.stats(container)
    assert stats.memory.available_bytes > 0
    assert stats.pids >= 1
    engine.containers.update_resources(container, Resources(memory_limit_bytes=64 << 20))
    kept = engine.containers.status(container).options.resources
    assert (kept.memory_limit_bytes, kept.cpu_shares) == (64 << 20, 512)
    with pytest.raises(Error):
        engine.containers.update_resources(container, Resources(cpuset_cpus="4000"))
    assert engine.containers.status(container).options.resources == kept
    assert [found.container.id for found in engine.containers.list_stats()] == [container]


def test_out_of_memory_is_named(engine, image):
    pod = engine.pods.run(pod_options())
    limits = Resources(memory_limit_bytes=15 << 20, memory_swap_limit_bytes=15 << 20)
    script = "dd if=/dev/zero of=/dev/null bs=20M count=1"
    container = run(
        engine, pod, ContainerOptions("main", image, command=tuple(script.split()), resources=limits)
    )
    ended = await_exit(engine, container)
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)


def test_end_of_a_short_program_is_seen_by_the_first_look(engine, image):
    pod = engine.pods.run(pod_options())
    short = run(engine, pod, ContainerOptions("short", image, command=("true",)))
    seen = engine.containers.status(short)
    age_s = time.time() - seen.started_at_ns / 1e9
    # A loaded machine may not let it end so soon; then it was waited for.
    assert seen.state == "exited" or age_s >= 0.02

    long = run(engine, pod, shell(image, "sleep 1000"))
    assert engine.containers.status(long).state == "running"


# -- exec -----------------------------------------------------------------------


@pytest.fixture
def sleeper(engine, image) -> str:
    return run(engine, engine.pods.run(pod_options()), shell(image, "sleep 1000"))


def test_exec(engine, sleeper):
    result = engine.containers.exec_sync(sleeper, ("sh", "-c", "echo out; echo err >&2; exit 7"), 10)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)


def test_exec_with_much_output(engine, sleeper):
    limit = engine.settings.exec_output_limit_bytes
    argv = ("sh", "-c", f"head -c {limit + 100_000} /dev/zero; echo end >&2")
    result = engine.containers.exec_sync(sleeper, argv, 30)
    assert len(result.stdout) == limit
    assert (result.stderr, result.exit_code) == (b"end\n", 0)


def test_exec_over_its_time_is_killed(engine, sleeper):
    with pytest.raises(DeadlineExceeded):
        engine.containers.exec_sync(sleeper, ("sleep", "4321"), 0.3)
    assert b"4321" not in engine.containers.exec_sync(sleeper, ("ps",), 10).stdout


def test_exec_of_what_is_not_there(engine, sleeper):
    with pytest.raises(NotFound):
        engine.containers.exec_sync(sleeper, ("no-such-program",), 5)
    with pytest.raises(NotFound):
        engine.containers.exec_sync("ffff", ("true",), 5)
    engine.containers.stop(sleeper, 0)
    with pytest.raises(NotFound):
        engine.containers.exec_sync(sleeper, ("true",), 5)


def test_exec_does_not_wait_for_what_it_leaves_behind(engine, sleeper):
    result = engine.containers.exec_sync(sleeper, ("sh", "-c", "echo done; sleep 100 &"), 20)
    assert result.stdout == b"done\n"


def test_execs_in_parallel_leave_no_descriptor(engine, sleeper):
    engine.containers.exec_sync(sleeper, ("true",), 10)
    with ThreadPoolExecutor(4) as pool:
        before = len(os.listdir("/proc/self/fd"))
        results = list(
            pool.map(lambda n: engine.containers.exec_sync(sleeper, ("echo", str(n)), 20), range(20))
        )
    assert [int(result.stdout) for result in results] == list(range(20))
    assert len(os.listdir("/proc/self/fd")) <= before + 8  # idle connections to the keeper


# -- logs, images -----------------------------------------------------------------


def test_log_rotation(engine, image, logged):
    pod = engine.pods.run(pod_options(**logged))
    script = "while true; do echo tick; sleep 0.05; done"
    container = run(engine, pod, shell(image, script, log_path="0.log"))
    path = engine.containers.status(container).log_path
    await_text(path, "tick")
    os.rename(path, f"{path}.1")
    engine.containers.reopen_log(container)
    size = os.stat(f"{path}.1").st_size
    await_text(path, "tick")
    assert os.stat(f"{path}.1").st_size == size
    engine.containers.stop(container, 0)
    os.unlink(path)
    with pytest.raises(FailedPrecondition):
        engine.containers.reopen_log(container)
    assert not os.path.exists(path)


def test_an_image_in_use_stays(engine, image):
    pod = engine.pods.run(pod_options())
    container = engine.containers.create(pod, shell(image, "true"))
    with pytest.raises(FailedPrecondition):
        engine.images.remove(image)
    assert engine.images.status(image)
    engine.containers.remove(container)
    engine.images.remove(image)
    engine.images.remove(image)
    assert engine.images.status(image) is None
    assert list(engine.images.list()) == []


def test_images(engine, image):
    (found,) = engine.images.list()
    assert engine.images.list(image) == [found]
    assert engine.images.list("localhost/other") == []
    (usage,) = engine.images.fs_info()
    assert usage.used_bytes > 0


# -- restarts ---------------------------------------------------------------------


def test_a_new_engine_finds_all_as_it_is(engine, image, settings):
    pod = engine.pods.run(pod_options())
    running = run(engine, pod, shell(image, "sleep 1000"))
    ending = run(engine, pod, shell(image, "sleep 0.3; exit 5", name="ending"))
    engine.close()
    time.sleep(0.6)  # it ends while nobody listens
    with Engine(settings) as second:
        assert second.pods.status(pod).state == "ready"
        assert second.containers.status(running).state == "running"
        assert (second.containers.status(ending).state, second.containers.status(ending).exit_code) == (
            "exited",
            5,
        )
        assert second.containers.exec_sync(running, ("echo", "hi"), 10).stdout == b"hi\n"
        second.pods.remove(pod)
    assert_nothing_left(settings)


def test_a_killed_supervisor_loses_no_exit(engine, image):
    pod = engine.pods.run(pod_options())
    container = run(engine, pod, shell(image, "sleep 0.5; exit 9"))
    os.kill(engine._parts.keeper.call("version", {}).message["pid"], signal.SIGKILL)
    assert await_exit(engine, container).exit_code == 9


def test_what_another_boot_left_is_not_ready_and_goes(engine, image, settings):
    pod = engine.pods.run(pod_options())
    container = run(engine, pod, shell(image, "sleep 1000"))
    parts = engine._parts
    with parts.store.database.write() as connection:
        connection.execute("UPDATE pods SET facts = json_set(facts, '$.boot_id', 'earlier')")
        connection.execute("UPDATE containers SET facts = json_set(facts, '$.boot_id', 'earlier')")
    engine.close()
    with Engine(settings) as second:
        assert second.pods.status(pod).state == "notready"
        ended = second.containers.status(container)
        assert (ended.state, ended.exit_code, ended.reason) == ("exited", 255, "ContainerStatusUnknown")
        second.pods.remove(pod)
    assert_nothing_left(settings)


def test_half_made_pods_of_a_dead_engine_are_cleared(empty_engine, settings):
    pod = empty_engine.pods.run(pod_options())
    with empty_engine._parts.store.database.write() as connection:
        connection.execute("UPDATE pods SET state = 'creating', owner = 'boot/1/0'")
    empty_engine.close()
    with Engine(settings) as second:
        assert second.pods.list() == []
        assert second._parts.pods.list_unfinished() == []
    assert not os.path.exists(f"{settings.pods_dir}/{pod}")
    assert_nothing_left(settings)


def test_a_node_is_ready(empty_engine, settings):
    status = empty_engine.status()
    assert [(found.type, found.status) for found in status.conditions] == [
        ("RuntimeReady", True),
        ("NetworkReady", True),
    ]
    assert {handler.name for handler in status.handlers} >= {"", "rundlet"}
    next(Path(settings.cni_conf_dir).iterdir()).unlink()
    network = empty_engine.status().conditions[1]
    assert (network.status, network.reason) == (False, "NetworkPluginNotReady")
