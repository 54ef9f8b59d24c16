"""Containers on the real kernel, from create to delete."""

import os
import select
import signal
import socket
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import AlreadyExists, FailedPrecondition, NotFound, PermissionDenied
from rundlet.keeper.client import Keeper
from rundlet.keeper.place import connect_path, keeper_dir
from rundlet.keeper.protocol import ExitRecord, LogLimit, OomEvent, receive_packet, send_packet
from rundlet.kernel.capability import mask_of
from rundlet.plan.planner import Host, plan_process
from rundlet.plan.process import ProcessPlan
from rundlet.spec import runtime as spec
from tests.keeper.bundle import PATH, config, plan
from tests.keeper.conftest import read_log

pytestmark = pytest.mark.kernel

Run = Callable[..., Any]


def replace_linux(configuration: spec.RuntimeConfig, **fields: object) -> spec.RuntimeConfig:
    return configuration.replace(linux=configuration.linux.replace(**fields))


def test_exit_code_and_both_streams(run: Run) -> None:
    outcome = run(config("sh", "-c", "echo out; echo err >&2; exit 42"))
    assert (outcome.exit.exit_code, outcome.exit.signal) == (42, 0)
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")


def test_a_killed_process_exits_with_128_plus_signal(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    keeper.signal("c", signal.SIGKILL)
    record = keeper.wait("c", 10)
    assert record is not None
    assert (record.exit_code, record.signal) == (137, 9)


def test_output_without_a_final_newline_is_not_lost(run: Run) -> None:
    assert run(config("sh", "-c", "printf tail")).stdout == "tail\n"


def test_each_namespace_is_its_own(run: Run) -> None:
    outcome = run(config("sh", "-c", "hostname; readlink /proc/self/ns/net; readlink /proc/self/ns/uts"))
    lines = outcome.stdout.split()
    assert lines[0] == "box"
    assert lines[1] != os.readlink("/proc/self/ns/net")
    assert lines[2] != os.readlink("/proc/self/ns/uts")


def test_the_host_is_out_of_sight(run: Run) -> None:
    outcome = run(config("sh", "-c", "ls / ; cat /proc/self/mountinfo"))
    assert "rundlet" not in outcome.stdout
    assert set(outcome.stdout.split("\n")[:6]) >= {"bin", "dev", "etc", "proc", "sys"}


def test_default_devices_and_links(run: Run) -> None:
    outcome = run(
        config(
            "sh",
            "-c",
            "stat -c '%n %t:%T %a' /dev/null /dev/tty; readlink /dev/ptmx; readlink /dev/fd; echo x >/dev/null",
        )
    )
    assert outcome.stdout == "/dev/null 1:3 666\n/dev/tty 5:0 666\npts/ptmx\n/proc/self/fd\n"


def test_user_groups_umask_cwd_and_home(run: Run) -> None:
    user = spec.User(uid=1000, gid=1001, umask=0o077, additional_gids=[5, 6])
    outcome = run(
        config("sh", "-c", "id -u; id -g; id -G; umask; pwd; echo $HOME", user=user, cwd="/made/for/it")
    )
    assert outcome.stdout.split("\n")[:-1] == [
        "1000",
        "1001",
        "1001 5 6",
        "0077",
        "/made/for/it",
        "/home/bob",
    ]


def test_capabilities_are_exactly_those_given(run: Run) -> None:
    names = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
    sets = spec.Capabilities(
        bounding=names, effective=names[:1], permitted=names, inheritable=names, ambient=names[1:]
    )
    outcome = run(
        config("sh", "-c", "grep Cap /proc/self/status", capabilities=sets, user=spec.User(uid=1000))
    )
    found = {line.split()[0]: int(line.split()[1], 16) for line in outcome.stdout.splitlines()}
    both = mask_of(names)
    assert found["CapBnd:"] == both
    assert found["CapAmb:"] == mask_of(names[1:])
    assert found["CapInh:"] == both


def test_no_new_privileges_and_limits(run: Run) -> None:
    limits = [spec.Rlimit("RLIMIT_NOFILE", 64, 128)]
    outcome = run(
        config(
            "sh", "-c", "grep NoNewPrivs /proc/self/status; ulimit -n", no_new_privileges=True, rlimits=limits
        )
    )
    assert outcome.stdout.split() == ["NoNewPrivs:", "1", "64"]


def test_a_read_only_root_and_masked_paths(run: Run) -> None:
    plain = config(
        "sh",
        "-c",
        "touch /x; cat /proc/kcore | head -c 1; ls /proc/acpi; echo 1 >/proc/sys/kernel/domainname; touch /tmp/x",
    )
    protected = replace_linux(
        plain, masked_paths=["/proc/kcore", "/proc/acpi", "/nowhere"], readonly_paths=["/proc/sys"]
    )
    outcome = run(protected.replace(root=spec.Root("rootfs", readonly=True)))
    assert outcome.stdout == ""
    assert outcome.stderr.count("Read-only file system") == 3


def test_bind_mounts_with_their_options(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "volume"
    source.mkdir()
    (source / "file").write_text("there\n")
    plain = config(
        "sh", "-c", "cat /a/file /f; echo x >/a/new; echo y >/b/new; grep ' /a ' /proc/self/mountinfo"
    )
    mounts = [
        spec.Mount("/a", str(source), "bind", ["bind", "ro", "nosuid", "rprivate"]),
        spec.Mount("/b", str(source), "bind", ["rbind"]),
        spec.Mount("/f", str(source / "file"), "bind", ["bind", "ro"]),
    ]
    outcome = run(plain.replace(mounts=[*plain.mounts, *mounts]))
    assert outcome.stdout.startswith("there\nthere\n")
    assert " ro,nosuid" in outcome.stdout
    assert "Read-only file system" in outcome.stderr
    assert (source / "new").read_text() == "y\n"


def test_a_terminal_is_the_controlling_one(run: Run) -> None:
    outcome = run(config("sh", "-c", "tty; test -t 0 && test -t 1 && test -t 2 && echo all", terminal=True))
    assert (
        outcome.stdout == "/dev/console\r\nall\r\n" or outcome.stdout.replace("\r", "") == "/dev/pts/0\nall\n"
    )


def test_signals_are_at_their_defaults(run: Run) -> None:
    outcome = run(config("grep", "-E", "SigIgn|SigBlk", "/proc/self/status"))
    assert [line.split()[1] for line in outcome.stdout.splitlines()] == ["0" * 16, "0" * 16]


def test_only_stdio_is_open(run: Run) -> None:
    outcome = run(config("ls", "/proc/1/fd"))
    assert outcome.stdout.split()[:3] == ["0", "1", "2"]
    assert len(outcome.stdout.split()) == 4  # and the directory that ls itself reads


def test_memory_limit_and_oom_mark(run: Run) -> None:
    limit = (("memory", "memory.limit_in_bytes", str(16 << 20)),)
    outcome = run(config("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1"), writes=limit)
    assert outcome.exit.oom_killed
    assert outcome.exit.exit_code == 137


def test_a_missing_program_is_not_found_and_leaves_nothing(keeper: Keeper, bundle: Path) -> None:
    with pytest.raises(NotFound, match="executable file not found in"):
        keeper.create(plan("c", config("no-such-program"), bundle))
    assert keeper.list() == {}
    assert os.listdir(f"{keeper.run_root}/keeper/containers") == []
    keeper.create(plan("c", config("true"), bundle))


def test_a_program_that_may_not_be_executed(keeper: Keeper, bundle: Path) -> None:
    (bundle / "rootfs/plain").write_text("text")
    with pytest.raises(PermissionDenied):
        keeper.create(plan("c", config("/plain"), bundle))


def test_a_failing_step_is_named(keeper: Keeper, bundle: Path) -> None:
    broken = replace_linux(config("true"), sysctl={"net.no.such.thing": "1"})
    with pytest.raises(FailedPrecondition, match=r"sysctl net\.no\.such\.thing = 1: no such file"):
        keeper.create(plan("c", broken, bundle))
    assert keeper.list() == {}


def test_calls_out_of_order(keeper: Keeper, bundle: Path) -> None:
    with pytest.raises(NotFound):
        keeper.start("c")
    keeper.create(plan("c", config("sleep", "100"), bundle))
    with pytest.raises(AlreadyExists):
        keeper.create(plan("c", config("true"), bundle))
    with pytest.raises(FailedPrecondition, match="exec needs a running one"):
        keeper.exec("c", ProcessPlan(("true",), (PATH,), "/"))
    assert keeper.wait("c", 0.05) is None
    keeper.start("c")
    with pytest.raises(FailedPrecondition, match="only a created one"):
        keeper.start("c")
    keeper.delete("c")
    keeper.delete("c")
    with pytest.raises(NotFound):
        keeper.state("c")


def test_the_gate_holds_until_start(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("touch", "/tmp/ran"), bundle))
    assert keeper.state("c").status == "created"
    assert not (bundle / "rootfs/tmp/ran").exists()
    keeper.start("c")
    assert keeper.wait("c", 10) is not None
    assert (bundle / "rootfs/tmp/ran").exists()


def exec_output(keeper: Keeper, process: ProcessPlan) -> tuple[int, str]:
    read_fd, write_fd = os.pipe()
    handle = keeper.exec("c", process, stdout_fd=write_fd, stderr_fd=write_fd)
    os.close(write_fd)
    with open(read_fd, encoding="utf-8") as pipe:
        text = pipe.read()
    record = handle.wait(10)
    handle.close()
    assert record is not None
    return record.exit_code, text


def test_exec_joins_every_namespace_and_the_cgroup(keeper: Keeper, bundle: Path) -> None:
    pid = keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    process = plan_process(
        config("sh", "-c", "hostname; echo $$; cat /proc/self/cgroup; exit 5").process, Host(-1)
    )
    code, text = exec_output(keeper, process)
    lines = text.splitlines()
    assert code == 5
    assert lines[0] == "box"
    assert int(lines[1]) < 20
    assert lines[2:] == Path(f"/proc/{pid}/cgroup").read_text().splitlines()


def test_exec_with_a_terminal_of_the_containers_own(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    command = config("sh", "-c", "tty; stty size; test -t 0 && echo yes; echo x >/dev/tty")
    process = command.process.replace(
        terminal=True, console_size=spec.ConsoleSize(30, 100), user=spec.User(uid=1000)
    )
    handle = keeper.exec("c", plan_process(process, Host(-1)))
    text = read_terminal(handle.terminal_fd)
    assert text.split() == ["/dev/pts/0", "30", "100", "yes", "x"]
    record = handle.wait(10)
    handle.close()
    assert record is not None
    assert record.exit_code == 0


def read_terminal(fd: int) -> str:
    text = b""
    while True:
        try:
            chunk = os.read(fd, 4096)
        except OSError:  # EIO: the last process has closed its end
            os.close(fd)
            return text.decode()
        text += chunk


def test_exec_of_a_missing_program(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    with pytest.raises(NotFound):
        keeper.exec("c", ProcessPlan(("nope",), (PATH,), "/"))


def test_exec_can_be_killed_with_its_children(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    handle = keeper.exec("c", ProcessPlan(("sh", "-c", "sleep 4321 & sleep 4321"), (PATH,), "/"))
    assert handle.wait(0.05) is None
    handle.signal(signal.SIGKILL)
    record = handle.wait(10)
    handle.close()
    assert record is not None
    assert record.exit_code == 137
    assert "4321" not in exec_output(keeper, ProcessPlan(("ps",), (PATH,), "/"))[1]


def test_reopen_log_after_rotation(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    keeper.create(
        plan("c", config("sh", "-c", "echo one; read x; echo two"), bundle), log_path=str(log), stdin=True
    )
    keeper.start("c")
    fifo = os.open(f"{keeper.run_root}/keeper/containers/c/stdin", os.O_WRONLY)
    while b"one" not in log.read_bytes():
        keeper.state("c")
    log.rename(old)
    keeper.reopen_log("c")
    assert log.exists()
    os.write(fifo, b"\n")
    os.close(fifo)
    assert keeper.wait("c", 10) is not None
    assert log.read_bytes().endswith(b"stdout F two\n")
    assert b"two" not in old.read_bytes()
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


def test_the_keeper_leaves_when_nothing_is_left(tmp_path: Path, bundle: Path) -> None:
    keeper = Keeper(str(tmp_path / "run"))
    keeper.create(plan("c", config("true"), bundle))
    supervisor = keeper.call("version", {}).message["pid"]
    pidfd = os.pidfd_open(supervisor)
    keeper.delete("c")
    keeper.close()
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)


def test_watch_tells_every_exit(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "exit 9"), bundle))
    watch = keeper.watch()
    keeper.start("c")
    assert next(iter(watch)).exit_code == 9


def test_watch_tells_of_a_kill_for_want_of_memory_that_the_container_survives(
    keeper: Keeper, bundle: Path
) -> None:
    limit = (("memory", "memory.limit_in_bytes", str(16 << 20)),)
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1; read x; exit 3"
    keeper.create(plan("c", config("sh", "-c", script), bundle, writes=limit), stdin=True)
    watch = keeper.watch()
    keeper.start("c")
    events = watch.events()
    first = next(events)
    assert isinstance(first, OomEvent)
    assert first.container_id == "c"
    keeper.attach("c").send(b"go\n")
    record = next(event for event in events if isinstance(event, ExitRecord))
    assert (record.exit_code, record.oom_killed) == (3, True)


def test_many_wait_and_each_is_told(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "read x; exit 5"), bundle), stdin=True)
    keeper.start("c")
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(keeper.wait, "c", 10) for _ in range(20)]
        assert keeper.wait("c", 0.1) is None  # one gives up
        keeper.attach("c").send(b"go\n")
        codes = [record.exit_code for future in waiting if (record := future.result()) is not None]
    assert codes == [5] * 20


def test_run_is_create_and_start(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    started = keeper.run(
        plan("c", config("sh", "-c", "echo ran; sleep 100"), bundle), log_path=str(tmp_path / "log")
    )
    assert started.started_at_ns > 0
    assert keeper.state("c").status == "running"
    with pytest.raises(NotFound):
        keeper.run(plan("d", config("no-such-program"), bundle))
    assert set(keeper.list()) == {"c"}


def test_a_log_of_limited_size(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"
    log = tmp_path / "log"
    keeper.run(
        plan("c", config("sh", "-c", script), bundle), log_path=str(log), log_limit=LogLimit(40_000, 10)
    )
    assert keeper.wait("c", 10) is not None
    files = [log, *(tmp_path / f"log.{number}" for number in range(1, 10))]
    texts = [read_log(file, "stdout") for file in files if file.exists()]
    assert len(texts) > 2
    assert "".join(reversed(texts)).split() == [str(number) for number in range(3000)]


def test_many_chatty_containers_starve_nobody(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    (bundle / "rootfs/data").write_text(("x" * 99 + "\n") * 1000)
    names = [f"c{number}" for number in range(10)]
    for name in names:
        chatty = config("sh", "-c", "while :; do cat /data; done")
        keeper.run(plan(name, chatty, bundle), log_path=str(tmp_path / name))
    before = [os.stat(tmp_path / name).st_size for name in names]
    answered = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        keeper.state("c0")
        answered += 1
    grown = [os.stat(tmp_path / name).st_size - size for name, size in zip(names, before, strict=True)]
    for name in names:
        keeper.delete(name)
    assert min(grown) > sum(grown) / len(grown) / 10
    assert answered > 1  # and whoever asks something is not kept waiting


def test_no_time_left_is_no_lost_connection(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    assert keeper.wait("c", 0) is None
    handle = keeper.exec("c", ProcessPlan(("sleep", "100"), (PATH,), "/"))
    assert handle.wait(0) is None
    handle.close()


def test_a_start_of_what_a_dead_caller_is_starting_gets_the_same_answer(keeper: Keeper, bundle: Path) -> None:
    """The second came before the keeper had heard of the first caller's end, and was refused."""
    keeper.create(plan("c", config("sleep", "1000"), bundle))
    args = {"container_id": "c"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        fd, address = connect_path(keeper_dir(keeper.run_root))
        client.connect(address)
        os.close(fd)
        send_packet(client, {"id": 1, "verb": "start", "args": args})
        send_packet(client, {"id": 2, "verb": "start", "args": args})
        answers = [receive_packet(client), receive_packet(client)]
    told = [answer.message["ok"]["started_at_ns"] for answer in answers if answer is not None]
    assert len(told) == 2
    assert told[0] == told[1]
