"""Ways out of a sandbox, tried from inside; every one must fail, and the machine must not notice."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rundlet.local.machine import Machine
from rundlet.sandbox.limits import MIB, Limits
from rundlet.sandbox.sandbox import Call, Sandbox
from tests.sandbox.conftest import MakeSandbox

pytestmark = pytest.mark.kernel

# What ctypes says of a system call: "N errno", N the result.
_CALL = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
result = libc.syscall(*(ctypes.c_long(int(word, 0)) for word in sys.argv[1:]))
print(result, ctypes.get_errno())
"""
# x86-64 and the rest (asm-generic/unistd.h).
_NUMBERS = {
    "ptrace": (101, 117), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268), "pivot_root": (155, 41),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265), "init_module": (175, 105), "kexec_load": (246, 104), "reboot": (169, 142),
    "swapon": (167, 224), "syslog": (103, 116), "process_vm_readv": (310, 270), "kcmp": (312, 272),
    "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429), "mount_setattr": (442, 442),
    "quotactl": (179, 60), "acct": (163, 89), "settimeofday": (164, 170), "sethostname": (170, 161),
    "pidfd_getfd": (438, 438), "clone3": (435, 435), "name_to_handle_at": (303, 264),
}  # fmt: skip
_REFUSED = {1, 38}  # EPERM, ENOSYS
_CLONE_NEWUSER = 0x10000000


# Who has one id is root in the sandbox, of its own things: its process 1, and a /dev without devices.
_OWN_WITH_ONE_ID = {
    "/dev/mem": "stat -c %F /dev/mem", "/proc/1/oom_score_adj": "tr '\\0' ' ' < /proc/1/cmdline",
    "/proc/1/environ": "tr '\\0' '\\n' < /proc/1/environ | grep HOSTNAME", "/proc/1/root/etc": "ls -id /proc/1/root/. /. | cut -d/ -f1 | uniq | wc -l",
}  # fmt: skip
_OWN_ANSWERS = {"regular file", "/.pause", "HOSTNAME=sandbox", "1"}


def check_own(box: Sandbox, who: str, path: str) -> None:
    """What was reached after all is the sandbox's own, and nobody else's."""
    assert who == "user with one id"
    assert shell(box, _OWN_WITH_ONE_ID[path]).stdout.strip() in _OWN_ANSWERS


def number(name: str) -> str:
    return str(_NUMBERS[name][os.uname().machine != "x86_64"])


def call(box: Sandbox, name: str, *arguments: int) -> tuple[int, int]:
    """Result and errno of one system call from inside."""
    words = [number(name), *map(str, arguments)]
    done = box.run(["python3", "-c", _CALL, *words])
    result, error = done.stdout.split()
    return int(result), int(error)


def shell(box: Sandbox, script: str, **given: object) -> Call:
    return box.run(["sh", "-c", script], **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(_NUMBERS))
def test_calls_that_only_attackers_need_are_refused(shared: Sandbox, name: str) -> None:
    first = _CLONE_NEWUSER if name == "unshare" else 0
    result, error = call(shared, name, first, 0, 0, 0, 0, 0)
    assert result == -1
    assert error in _REFUSED


@pytest.fixture(scope="module")
def shared(anyone: tuple[str, Machine], image: str) -> Iterator[Sandbox]:
    """One sandbox for the attempts that leave nothing behind."""
    with Sandbox(image, machine=anyone[1]) as box:
        yield box


@pytest.fixture
def sandbox(anyone: tuple[str, Machine], image: str) -> Iterator[MakeSandbox]:
    """Makes sandboxes that end with the test."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(Sandbox(image, machine=anyone[1], **given))


@pytest.mark.parametrize(
    "family", ["AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_KEY", "AF_BLUETOOTH", "AF_XDP", "AF_TIPC"]
)
def test_sockets_that_reach_past_namespaces_are_refused(shared: Sandbox, family: str) -> None:
    script = f"import socket; socket.socket({{'AF_KEY': 15, 'AF_XDP': 44}}.get('{family}') or socket.{family}, 2, 0)"
    done = shared.run(["python3", "-c", script])
    assert "PermissionError" in done.stderr


def test_netlink_beyond_the_routing_table_is_refused(shared: Sandbox) -> None:
    script = "import socket\nfor n in (4, 9, 12, 15, 16): \n  try: socket.socket(16, 3, n); print(n)\n  except OSError: pass"
    assert shared.run(["python3", "-c", script]).stdout == ""


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/1/oom_score_adj",
        "/sys/kernel/uevent_helper", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/sys/vm/overcommit_memory",
        "/sys/module/kernel/parameters/panic", "/etc/passwd", "/usr/bin/python3", "/.pause", "/dev/mem",
    ],
)  # fmt: skip
def test_nothing_of_the_system_can_be_written(
    shared: Sandbox, anyone: tuple[str, Machine], path: str
) -> None:
    if shell(shared, f"echo 1 > {path}").ok:
        check_own(shared, anyone[0], path)


@pytest.mark.parametrize(
    "path",
    ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware/acpi/tables", "/proc/1/environ", "/proc/1/root/etc",
     "/proc/2/mem", "/dev/kmsg", "/proc/kallsyms-of-the-host", "/proc/1/cwd/", "/proc/sched_debug"],
)  # fmt: skip
def test_nothing_of_the_host_can_be_read(shared: Sandbox, anyone: tuple[str, Machine], path: str) -> None:
    if shell(shared, f"ls {path}/. || head -c 64 {path}").stdout.strip("\0\n"):
        check_own(shared, anyone[0], path)


def test_no_file_of_the_host_is_seen(shared: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    secret.chmod(0o644)
    for way in ("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../..", "/.."):
        assert not shell(shared, f"cat {way}{secret}").ok


def test_there_is_no_network_but_the_loopback(shared: Sandbox) -> None:
    assert shell(shared, "ip -o link").stdout.count("\n") == 1
    assert not shell(shared, "wget -T 2 -O - http://10.86.0.1/").ok
    script = "import socket; s = socket.socket(); s.settimeout(2); s.connect(('192.0.2.1', 80))"
    assert "Network is unreachable" in shared.run(["python3", "-c", script]).stderr


def test_abstract_sockets_of_the_host_are_not_seen(shared: Sandbox) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0rundlet-escape-test")
        listener.listen()
        script = "import socket; socket.socket(socket.AF_UNIX).connect('\\0rundlet-escape-test')"
        assert "refused" in shared.run(["python3", "-c", script]).stderr


def test_no_right_can_be_gained(shared: Sandbox) -> None:
    status = shell(shared, "cat /proc/self/status").stdout
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    for line in status.splitlines():
        if line.startswith("Cap"):
            assert int(line.split()[1], 16) == 0
    script = "import os\nother = int(os.getuid() == 0)\nfor call in (lambda: os.setuid(other), lambda: os.setgid(other), lambda: os.setgroups([0]), lambda: os.chroot('/tmp'), lambda: os.nice(-5), lambda: os.mknod('/tmp/x', 0o20600, 0x101)):\n  try: call(); print('done')\n  except OSError: pass"
    assert shared.run(["python3", "-c", script]).stdout == ""


def test_root_in_the_sandbox_has_no_right_either(shared: Sandbox) -> None:
    done = shell(
        shared,
        "id -u; mount -t tmpfs x /tmp; chown 5 /etc; mknod /tmp/m c 1 1; hostname x; kill -9 1",
        user="root",
    )
    assert done.stdout == "0\n"
    assert shell(shared, "hostname").stdout == "sandbox\n"


def test_processes_outside_are_neither_seen_nor_reached(sandbox: MakeSandbox) -> None:
    one, other = sandbox(), sandbox()
    shell(other, "sleep 600 & echo begun")
    assert shell(one, "ps").stdout.count("sleep") == 0
    shell(one, "kill -9 -1")
    assert shell(other, "ps").stdout.count("sleep") == 1
    assert one.run(["echo", "here"]).stdout == "here\n"


def test_two_sandboxes_share_no_ids_files_or_memory(
    sandbox: MakeSandbox, anyone: tuple[str, Machine]
) -> None:
    one, other = sandbox(), sandbox()
    spaces = [box.run(["busybox", "readlink", "/proc/self/ns/user"]).stdout for box in (one, other)]
    assert spaces[0] != spaces[1]
    if anyone[0] == "root":
        maps = [box.run(["cat", "/proc/self/uid_map"]).stdout.split()[1] for box in (one, other)]
        assert maps[0] != maps[1]
        assert min(map(int, maps)) >= 1 << 30
    shell(one, "echo x > /dev/shm/a; echo x > /tmp/a; echo x > /work/a")
    assert shell(other, "ls /dev/shm /tmp /work").stdout.replace(":", "").split() == [
        "/dev/shm",
        "/tmp",
        "/work",
    ]


def test_a_fork_bomb_ends_at_its_limit(sandbox: MakeSandbox) -> None:
    box, other = sandbox(limits=Limits(pids=40)), sandbox()
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    done = box.run(["python3", "-c", bomb], timeout_s=1)
    assert done.timed_out
    assert other.run(["echo", "well"]).stdout == "well\n"
    assert box.run(["echo", "well"]).stdout == "well\n"


def test_a_memory_bomb_ends_at_its_limit(sandbox: MakeSandbox) -> None:
    box = sandbox(limits=Limits(memory_bytes=64 * MIB))
    done = box.run(["python3", "-c", "x = bytearray(1 << 30); print('had it all')"])
    assert done.exit_code == 137 or "MemoryError" in done.stderr
    assert box.run(["echo", "well"]).stdout == "well\n"


def test_a_disk_bomb_ends_at_its_limit(sandbox: MakeSandbox) -> None:
    box = sandbox(limits=Limits(disk_bytes=8 * MIB))
    for place, limit_bytes in (("/work", 8 * MIB), ("/tmp", 2 * MIB), ("/dev/shm", 2 * MIB)):
        done = shell(box, f"dd if=/dev/zero of={place}/big bs=65536 count=1024")
        assert "No space left" in done.stderr
        assert int(shell(box, f"stat -c %s {place}/big").stdout) <= limit_bytes
    shell(box, "rm /work/big; i=0; while touch /work/$i; do i=$((i+1)); done", timeout_s=2)
    assert box.run(["echo", "well"]).stdout == "well\n"


def test_an_output_flood_costs_its_limit_and_no_more(sandbox: MakeSandbox) -> None:
    box = sandbox(limits=Limits(output_bytes=MIB))
    flood = "import os\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)"
    done = box.run(["python3", "-c", flood], timeout_s=1)
    assert done.timed_out
    assert done.truncated
    assert len(done.stdout) == len(done.stderr) == MIB


def test_processor_time_is_limited(sandbox: MakeSandbox) -> None:
    box = sandbox(limits=Limits(cpus=0.2))
    if "cpus" in box.unkept_limits:
        return  # told by test_limits_that_nothing_keeps_are_told_by_name
    burn = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    assert float(box.run(["python3", "-c", burn]).stdout) < 0.5


def test_limits_that_nothing_keeps_are_told_by_name(
    sandbox: MakeSandbox, anyone: tuple[str, Machine], caplog: pytest.LogCaptureFixture
) -> None:
    """There is no delegated cgroup here; an ordinary user's number of processes is kept all the same."""
    box = sandbox()
    assert box.unkept_limits == (() if anyone[0] == "root" else ("memory_bytes", "cpus"))
    for name in box.unkept_limits:
        assert f"limits.{name}" in caplog.text
    assert caplog.text.count("no cgroup is delegated") == len(box.unkept_limits)


def test_links_cannot_lead_the_callers_reads_and_writes_out(sandbox: MakeSandbox, tmp_path: Path) -> None:
    """Paths given to read and write are resolved in the sandbox, whatever it has made of them."""
    box = sandbox()
    victim = tmp_path / "victim"
    victim.write_text("host")
    shell(
        box,
        f"ln -s {victim} /work/link; ln -s / /work/top; ln -s /proc/1/root /work/magic; mkfifo /work/pipe",
    )
    for path in (
        "/work/link",
        f"/work/top{victim}",
        f"/work/magic{victim}",
        f"/work/../..{victim}",
        "/work/pipe",
    ):
        with pytest.raises(Exception, match=r".") as caught:
            box.read(path)
        assert "host" not in str(caught.value)
    for path in ("/work/link", f"/work/top{victim}", f"/work/magic{victim}"):
        try:
            box.write(path, "sandbox")
        except Exception as error:  # noqa: BLE001 - most are refused; none may arrive
            assert error
    assert victim.read_text() == "host"


def test_a_sandbox_that_refuses_to_end_is_ended(sandbox: MakeSandbox) -> None:
    box = sandbox()
    stubborn = "import signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\nprint('up', flush=True)\ntime.sleep(600)"
    done = box.run(["python3", "-c", stubborn], timeout_s=0.5)
    assert done.timed_out
    started = time.monotonic()
    box.close()
    assert time.monotonic() - started < 20
