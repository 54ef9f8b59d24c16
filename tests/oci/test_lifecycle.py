"""The life of a container by commands, as engines call them, with the errors that runtime.md demands."""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.oci.runtime import Runtime, make_config, write_config

pytestmark = pytest.mark.kernel


def prepare(bundle: Path, *args: str, **process: Any) -> None:
    config = make_config(*args)
    config["process"].update(process)
    write_config(bundle, config)


def wait_until_stopped(runtime: Runtime, container_id: str) -> None:
    deadline_s = time.monotonic() + 10
    while runtime.state(container_id)["status"] != "stopped":
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_create_start_delete(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    prepare(bundle, "sh", "-c", "echo ran > /data/ran")
    ours.ok("create", "--bundle", str(bundle), "--pid-file", str(tmp_path / "pid"), "c1")
    state = ours.state("c1")
    assert state["status"] == "created"
    assert state["pid"] == int((tmp_path / "pid").read_text())
    assert state["bundle"] == str(bundle)
    assert not (bundle / "rootfs/data/ran").exists()
    ours.ok("start", "c1")
    wait_until_stopped(ours, "c1")
    assert (bundle / "rootfs/data/ran").read_text() == "ran\n"
    ours.ok("delete", "c1")
    assert ours.leftovers() == []


def test_later_edits_of_the_configuration_have_no_effect(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sh", "-c", "sleep 1000")
    ours.ok("create", "--bundle", str(bundle), "c1")
    (bundle / "config.json").write_text("{}")
    ours.ok("start", "c1")
    assert ours("exec", "c1", "echo", "still here").stdout == "still here\n"


@pytest.mark.parametrize(
    "command", ["start", "state", "kill", "delete", "pause", "resume", "ps", "exec", "update", "events"]
)
def test_an_unknown_container(ours: Runtime, command: str) -> None:
    outcome = ours(command, "nobody", *(["true"] if command == "exec" else []))
    assert outcome.code == (255 if command == "exec" else 1)
    assert "does not exist" in outcome.stderr


def test_calls_out_of_order(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sleep", "1000")
    ours.ok("create", "--bundle", str(bundle), "c1")
    assert "exists already" in ours("create", "--bundle", str(bundle), "c1").stderr
    assert ours.state("c1")["status"] == "created"
    ours.ok("start", "c1")
    assert "cannot start a container in the running state" in ours("start", "c1").stderr
    assert "that is not stopped: running" in ours("delete", "c1").stderr
    ours.ok("kill", "c1", "KILL")
    wait_until_stopped(ours, "c1")
    assert "container not running" in ours("kill", "c1", "TERM").stderr
    assert "cannot start a container in the stopped state" in ours("start", "c1").stderr
    assert "cannot exec in a stopped container" in ours("exec", "c1", "true").stderr
    ours.ok("delete", "c1")
    assert ours("delete", "c1").code == 1
    ours.ok("delete", "--force", "c1")


def test_force_deletes_what_runs(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sleep", "1000")
    ours.ok("run", "--detach", "--bundle", str(bundle), "c1")
    pid = ours.state("c1")["pid"]
    ours.ok("delete", "--force", "c1")
    assert ours.leftovers() == []
    assert not os.path.exists(f"/proc/{pid}/exe")


def test_a_created_container_that_is_killed_is_stopped(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "true")
    ours.ok("create", "--bundle", str(bundle), "c1")
    ours.ok("kill", "c1", "SIGKILL")
    wait_until_stopped(ours, "c1")
    assert "stopped state" in ours("start", "c1").stderr


def test_run_passes_stdio_and_the_exit_code(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sh", "-c", "cat; echo oops >&2; exit 7")
    outcome = ours("run", "--bundle", str(bundle), "c1", stdin="some words")
    assert outcome == (7, "some words", "oops\n")
    assert ours.leftovers() == []


def test_run_ends_as_a_killed_process_does(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sh", "-c", "kill -9 $$ & sleep 10", terminal=False)
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "pid"]
    write_config(bundle, config)
    assert ours("run", "--bundle", str(bundle), "c1").code == 128 + signal.SIGKILL


def test_keep_leaves_a_stopped_container(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "true")
    ours.ok("run", "--keep", "--bundle", str(bundle), "c1")
    assert ours.state("c1")["status"] == "stopped"
    ours.ok("delete", "c1")


def test_signals_to_run_reach_the_container(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    prepare(bundle, "sh", "-c", "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done")
    argv = [ours.program, "--root", str(ours.root), "run", "--bundle", str(bundle), "c1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(10) == 42
    assert ours.leftovers() == []


def test_list_in_all_its_forms(ours: Runtime, bundle: Path) -> None:
    assert ours.ok("list", "--format", "json") == "[]\n"
    prepare(bundle, "sleep", "1000")
    ours.ok("create", "--bundle", str(bundle), "c1")
    assert ours.ok("list", "--quiet") == "c1\n"
    header, row = ours.ok("list").splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[:3:2] == ["c1", "created"]
    (entry,) = json.loads(ours.ok("list", "-f", "json"))
    assert (entry["id"], entry["status"], entry["owner"]) == ("c1", "created", "root")


def test_ps(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sh", "-c", "sleep 1000 & sleep 1000")
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    pids = json.loads(ours.ok("ps", "--format", "json", "c1"))
    assert ours.state("c1")["pid"] in pids
    assert "sleep 1000" in ours.ok("ps", "c1")


def test_pause_and_resume(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sleep", "1000")
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    ours.ok("pause", "c1")
    assert ours.state("c1")["status"] == "paused"
    assert "cannot exec in a paused container" in ours("exec", "c1", "true").stderr
    assert "cannot be paused in the paused state" in ours("pause", "c1").stderr
    ours.ok("resume", "c1")
    assert ours.state("c1")["status"] == "running"
    ours.ok("exec", "c1", "true")
    ours.ok("pause", "c1")
    ours.ok("delete", "--force", "c1")


def test_kill_all_reaches_every_process(ours: Runtime, bundle: Path) -> None:
    config = make_config("sh", "-c", "setsid sleep 1000 & sleep 1000")
    config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "pid"]
    write_config(bundle, config)
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    ours.ok("kill", "--all", "c1", "KILL")
    wait_until_stopped(ours, "c1")
    assert json.loads(ours.ok("ps", "-f", "json", "c1")) == []


def test_update_changes_limits(ours: Runtime, bundle: Path) -> None:
    write_config(
        bundle,
        make_config(
            "sleep", "1000", change=lambda config: config["linux"]["resources"].update(pids={"limit": 50})
        ),
    )
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    ours.ok("update", "--pids-limit", "20", "--memory", "64m", "c1")
    stats = json.loads(ours.ok("events", "--stats", "c1"))["data"]
    assert stats["pids"]["limit"] == 20
    assert stats["memory"]["usage"]["limit"] == 64 << 20
    ours.ok(
        "update", "--resources", "-", "c1", stdin='{"pids": {"limit": 30}, "memory": {"limit": 134217728}}'
    )
    stats = json.loads(ours.ok("events", "--stats", "c1"))["data"]
    assert stats["pids"]["limit"] == 30
    assert stats["memory"]["usage"]["limit"] == 128 << 20
    outcome = ours("update", "--resources", "-", "c1", stdin='{"pids": {"limit": "many"}}')
    assert "standard input: pids.limit: expected int, got str" in outcome.stderr


def test_exec(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    prepare(bundle, "sleep", "1000")
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    assert ours("exec", "c1", "sh", "-c", "exit 3").code == 3
    assert ours("exec", "c1", "sh", "-c", "kill -9 $$").code == 137
    script = "id -u; id -g; pwd; echo $X; cat"
    argv = ("exec", "--user", "1000:1000", "--cwd", "/tmp", "--env", "X=y", "c1", "sh", "-c", script)
    assert ours(*argv, stdin="in").stdout == "1000\n1000\n/tmp\ny\nin"
    outcome = ours("exec", "c1", "nosuch")
    assert outcome.code == 255
    assert "executable file not found in $PATH" in outcome.stderr
    assert ours("exec", "c1").code == 255
    (tmp_path / "process.json").write_text(
        json.dumps({"cwd": "/data", "args": ["cat", "file"], "env": ["PATH=/bin"]})
    )
    assert ours.ok("exec", "--process", str(tmp_path / "process.json"), "c1") == "data\n"
    ours.ok("exec", "--detach", "--pid-file", str(tmp_path / "pid"), "c1", "sleep", "1000")
    assert int((tmp_path / "pid").read_text()) in json.loads(ours.ok("ps", "-f", "json", "c1"))


def receive_master(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    return fds[0]


def read_all(master: int) -> bytes:
    chunks = []
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


@pytest.fixture
def console(tmp_path: Path) -> Any:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen(2)
        yield listener, str(tmp_path / "console")


def test_a_terminal_goes_to_the_console_socket(ours: Runtime, bundle: Path, console: Any) -> None:
    listener, path = console
    size = {"height": 33, "width": 99}
    prepare(bundle, "sh", "-c", "tty; stty size; exit 0", terminal=True, consoleSize=size)
    ours.ok("create", "--bundle", str(bundle), "--console-socket", path, "c1")
    master = receive_master(listener)
    ours.ok("start", "c1")
    assert read_all(master) == b"/dev/pts/0\r\n33 99\r\n"
    os.close(master)


def test_a_pidfd_goes_to_its_socket(ours: Runtime, bundle: Path, console: Any) -> None:
    listener, path = console
    prepare(bundle, "sleep", "1000")
    ours.ok("run", "-d", "--bundle", str(bundle), "--pidfd-socket", path, "c1")
    pidfd = receive_master(listener)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_until_stopped(ours, "c1")
    os.close(pidfd)


def test_exec_with_a_terminal(ours: Runtime, bundle: Path, console: Any) -> None:
    listener, path = console
    prepare(bundle, "sleep", "1000")
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    ours.ok("exec", "--tty", "--detach", "--console-socket", path, "c1", "tty")
    master = receive_master(listener)
    assert b"/dev/pts/" in read_all(master)
    os.close(master)


def test_run_in_the_foreground_with_a_terminal(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sh", "-c", "stty size; read line; echo got $line", terminal=True)
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 34, 0, 0))
    argv = [ours.program, "--root", str(ours.root), "run", "--bundle", str(bundle), "c1"]
    with subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, start_new_session=True) as process:
        os.close(inner)
        output = b""
        while b"12 34" not in output:
            output += os.read(outer, 4096)
        os.write(outer, b"words\r")
        output += read_all(outer)
        assert process.wait(10) == 0
    os.close(outer)
    assert b"got words" in output


def test_a_detached_terminal_needs_a_console_socket(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "true", terminal=True)
    outcome = ours("create", "--bundle", str(bundle), "c1")
    assert outcome.code == 1
    assert "--console-socket" in outcome.stderr
    assert ours.leftovers() == []


def test_a_terminal_without_one_of_our_own_is_refused(ours: Runtime, bundle: Path) -> None:
    """It waited for ever for a line that nobody could type."""
    prepare(bundle, "sh", terminal=True)
    argv = [ours.program, "--root", str(ours.root), "run", "--bundle", str(bundle), "c1"]
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "has none itself" in done.stderr
    assert ours.leftovers() == []


def test_descriptors_are_passed_on_when_asked(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    prepare(bundle, "sh", "-c", "cat <&3; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd")
    given = tmp_path / "given"
    given.write_text("by fd 3\n")
    argv = [ours.program, "--root", str(ours.root), "run", "--bundle", str(bundle)]
    shell = ["/bin/sh", "-c", f'exec 3<{given}; exec "$@"', "sh"]
    asked = subprocess.run([*shell, *argv, "--preserve-fds", "1", "c1"], stdout=subprocess.PIPE, check=True)
    assert asked.stdout.decode().splitlines()[:2] == ["by fd 3", ""]
    listening = {**os.environ, "LISTEN_FDS": "1"}
    asked = subprocess.run([*shell, *argv, "c2"], stdout=subprocess.PIPE, check=True, env=listening)
    assert asked.stdout.decode().splitlines()[:2] == ["by fd 3", "1 1"]
    assert (
        "descriptor 3 is not open" in ours("run", "--preserve-fds", "1", "--bundle", str(bundle), "c3").stderr
    )


def test_no_descriptor_of_ours_reaches_the_program(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sh", "-c", "echo /proc/self/fd/*")
    assert ours.ok("run", "--bundle", str(bundle), "c1").split() == [
        f"/proc/self/fd/{fd}" for fd in (0, 1, 2, 3)
    ]


def test_ready_by_notify_socket(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    """systemd's readiness: the container's message comes out with a pid that the manager knows."""
    prepare(bundle, "sh", "-c", "test -S $NOTIFY_SOCKET && sleep 1000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        ours.ok("create", "--bundle", str(bundle), "c1", env=environment)
        argv = [ours.program, "--root", str(ours.root), "start", "c1"]
        with subprocess.Popen(argv, env=environment) as start:
            pid = ours.state("c1")["pid"]
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inside:
                path = ours.root / "c1/notify/notify.sock"
                deadline_s = time.monotonic() + 10
                while ours.state("c1")["status"] != "running":
                    assert time.monotonic() < deadline_s
                inside.sendto(b"READY=1\nSTATUS=fine", str(path))
            assert manager.recv(4096) == b"READY=1\nMAINPID=%d" % pid
            assert start.wait(10) == 0


def test_errors_in_json_as_engines_parse_them(ours: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    outcome = ours("--log-format", "json", "--log", str(log), "start", "nobody")
    assert outcome.code == 1
    assert outcome.stderr == 'container "nobody" does not exist\n'
    line = json.loads(log.read_text())
    assert line["level"] == "error"
    assert line["msg"] == 'container "nobody" does not exist'
    assert line["time"].endswith("Z")


def test_a_program_that_is_missing_leaves_nothing(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "nosuch")
    outcome = ours("create", "--bundle", str(bundle), "c1")
    assert outcome.code == 1
    assert "executable file not found in $PATH" in outcome.stderr
    assert ours.leftovers() == []


def test_what_goes_wrong_after_the_gate_is_told_by_start(ours: Runtime, bundle: Path) -> None:
    """A file that is executable and no program: execve(2) says so when the creator has long gone."""
    (bundle / "rootfs/bin/broken").write_bytes(b"\x7fELF broken")
    (bundle / "rootfs/bin/broken").chmod(0o755)
    prepare(bundle, "broken")
    ours.ok("create", "--bundle", str(bundle), "c1")
    outcome = ours("start", "c1")
    assert outcome.code == 1
    assert "exec format error" in outcome.stderr


@pytest.mark.parametrize("flag", ["--no-pivot"])
def test_flags_that_are_refused(ours: Runtime, bundle: Path, flag: str) -> None:
    prepare(bundle, "true")
    outcome = ours("run", flag, "--bundle", str(bundle), "c1")
    assert outcome.code == 1
    assert flag in outcome.stderr


def test_checkpoint_without_criu_says_what_to_do(ours: Runtime, bundle: Path) -> None:
    prepare(bundle, "sleep", "1000")
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    outcome = ours("--criu", "no-such-criu", "checkpoint", "c1")
    assert outcome.code == 1
    assert (
        "no-such-criu: executable file not found in $PATH (hint: checkpoints are made by criu; install it)"
        in outcome.stderr
    )


def test_hooks_run_with_the_state_on_stdin(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "hooks"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho $1 $(cat) >> {log}\n")
    hook.chmod(0o755)
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    config = make_config("sleep", "1000")
    config["hooks"] = {kind: [{"path": str(hook), "args": ["hook", kind]}] for kind in kinds}
    write_config(bundle, config)
    ours.ok("create", "--bundle", str(bundle), "c1")
    pid = ours.state("c1")["pid"]
    ours.ok("start", "c1")
    ours.ok("delete", "--force", "c1")
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [kind for kind, _ in lines] == list(kinds)
    states = {kind: json.loads(text) for kind, text in lines}
    assert [states[kind]["status"] for kind in kinds] == ["creating", "creating", "running", "stopped"]
    assert [states[kind].get("pid") for kind in kinds[:3]] == [pid] * 3
    assert states["prestart"]["bundle"] == str(bundle)


def test_a_failing_hook_ends_the_container(ours: Runtime, bundle: Path) -> None:
    config = make_config("sleep", "1000")
    config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    write_config(bundle, config)
    outcome = ours("create", "--bundle", str(bundle), "c1")
    assert "hooks.createRuntime[0] (/bin/false): exit code 1" in outcome.stderr
    assert ours.leftovers() == []
    config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    write_config(bundle, config)
    assert ours("run", "-d", "--bundle", str(bundle), "c1").code == 1
    assert ours.leftovers() == []
    config["hooks"] = {"poststop": [{"path": "/bin/false"}]}
    write_config(bundle, config)
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    assert ours("delete", "--force", "c1").code == 0
    assert ours.leftovers() == []


def test_a_user_namespace(ours: Runtime, bundle: Path) -> None:
    for path in [bundle, *(bundle / "rootfs").rglob("*"), bundle / "rootfs"]:
        os.lchown(path, 100000, 100000)
    config = make_config("sh", "-c", "id -u; cat /proc/self/uid_map")
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = [
        {"containerID": 0, "hostID": 100000, "size": 65536}
    ]
    write_config(bundle, config)
    assert ours.ok("run", "--bundle", str(bundle), "c1").split() == ["0", "0", "100000", "65536"]


def test_scripts_and_their_arguments(ours: Runtime, bundle: Path) -> None:
    """As execve(2) has it: interpreter, one argument, the script's path, then the arguments."""
    tools = bundle / "rootfs/bin"
    (tools / "show").write_text('#!/bin/sh\nfor word in "$0" "$@"; do echo "$word"; done\n')
    (tools / "script").write_text("#! /bin/show  two words \t\nanything\n")
    for name in ("show", "script"):
        (tools / name).chmod(0o755)
    prepare(bundle, "script", "a", "b c")
    assert ours.ok("run", "--bundle", str(bundle), "c1").splitlines() == [
        "/bin/show",
        "two words",
        "/bin/script",
        "a",
        "b c",
    ]
    prepare(bundle, "sh", "-c", "cat /proc/$$/comm; true")
    assert ours.ok("run", "--bundle", str(bundle), "c1") == "sh\n"
    (tools / "busybox-secret").write_bytes((tools / "busybox").read_bytes())
    (tools / "busybox-secret").chmod(0o711)
    prepare(bundle, "busybox-secret", "echo", "executed and not read", user={"uid": 1000, "gid": 1000})
    assert ours.ok("run", "--bundle", str(bundle), "c1") == "executed and not read\n"


def test_a_scope_s_name_is_a_directory_without_systemd(ours: Runtime, bundle: Path) -> None:
    """containerd gives slice:prefix:name below a .slice parent whatever its driver, and runc takes it."""
    config = make_config("cat", "/proc/self/cgroup")
    config["linux"]["cgroupsPath"] = "test.slice:prefix:name"
    write_config(bundle, config)
    assert "test.slice:prefix:name" in ours.ok("run", "--bundle", str(bundle), "c1")


def test_a_create_that_is_stopped_leaves_nothing(ours: Runtime, bundle: Path, tmp_path: Path) -> None:
    """SIGTERM while a hook keeps it: what was made is taken back."""
    os.mkfifo(tmp_path / "reached")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho > {tmp_path}/reached\nsleep 1000\n")
    hook.chmod(0o755)
    config = make_config("true")
    config["hooks"] = {"createRuntime": [{"path": str(hook)}]}
    write_config(bundle, config)
    argv = [ours.program, "--root", str(ours.root), "create", "--bundle", str(bundle), "c1"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        (tmp_path / "reached").read_text()
        process.terminate()
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert b"stopped by signal 15" in process.stderr.read()
    assert ours.leftovers() == []


def test_two_containers_of_one_cgroup(ours: Runtime, bundle: Path) -> None:
    """Deleting one must not kill the other: the group is not its alone."""
    config = make_config("sleep", "1000")
    config["linux"]["cgroupsPath"] = "/shared-by-two"
    write_config(bundle, config)
    for name in ("c1", "c2"):
        ours.ok("run", "-d", "--bundle", str(bundle), name)
    outcome = ours("delete", "--force", "c1")
    assert "remove cgroup /shared-by-two" in outcome.stderr
    assert ours.state("c2")["status"] == "running"
    ours.ok("delete", "--force", "c2")
    ours.ok("delete", "--force", "c1")
    assert ours.leftovers() == []


def test_what_outlives_its_first_process_goes_with_delete(ours: Runtime, bundle: Path) -> None:
    config = make_config("sh", "-c", "setsid sleep 1000 & echo $!")
    config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "pid"]
    write_config(bundle, config)
    pid = int(ours.ok("run", "--bundle", str(bundle), "c1"))
    assert not os.path.exists(f"/proc/{pid}/exe")
    assert ours.leftovers() == []


def test_the_null_device_of_stdio_is_the_containers_own(ours: Runtime, bundle: Path) -> None:
    """As with runc: criu cannot dump a file of the host."""

    def change(config: dict[str, Any]) -> None:
        config["process"]["args"] = ["sh", "-c", "stat -L -c %d /dev/null /proc/self/fd/0 >&2"]

    write_config(bundle, make_config(change=change))
    outcome = ours("run", "--bundle", str(bundle), "c1")
    own, stdin = outcome.stderr.split()
    assert own == stdin != str(os.stat("/dev/null").st_dev)


def test_events_tell_of_kills_for_want_of_memory_and_end_with_the_container(
    ours: Runtime, bundle: Path
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}

    os.mkfifo(bundle / "rootfs/go")
    script = "read line < /go; tail /dev/zero; exec sleep 1000"
    write_config(bundle, make_config("sh", "-c", script, change=change))
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    argv = [ours.program, "--root", str(ours.root), "events", "--interval", "50ms", "c1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        assert json.loads(events.stdout.readline())["type"] == "stats"  # so it listens
        (bundle / "rootfs/go").write_text("go\n")
        kinds = (json.loads(line)["type"] for line in events.stdout)
        assert "oom" in kinds
        ours.ok("kill", "c1", "KILL")
        assert set(kinds) <= {"stats"}
        assert events.wait(10) == 0
