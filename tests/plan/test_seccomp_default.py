import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet.kernel.prctl import set_no_new_privs
from rundlet.kernel.seccomp import load_filter
from rundlet.plan.seccomp import SeccompProgram, compile_seccomp
from rundlet.plan.seccomp_default import ALWAYS, BY_CAPABILITY, BY_MACHINE, default_seccomp
from rundlet.plan.syscalls import syscall_numbers

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
I386 = 0x40000003
NUMBERS = syscall_numbers("x86_64")
DEBIANS_PROFILE = Path("/usr/share/containers/seccomp.json")


@pytest.fixture(scope="module")
def decide(run_program):
    programs: dict[tuple[str, ...], bytes] = {}

    def decide(name, *args, caps=(), arch=0xC000003E):
        if caps not in programs:
            programs[caps] = compile_seccomp(default_seccomp(caps, "x86_64"), "x86_64").filter
        table = "i386" if arch == I386 else "x86_64"
        return run_program(programs[caps], syscall_numbers(table)[name], arch, args)

    return decide


# What the C libraries call at start, for threads, files and time; musl uses the older ones.
GLIBC = """execve brk arch_prctl access openat read newfstatat mmap close pread64 set_tid_address
set_robust_list rseq mprotect prlimit64 munmap getrandom rt_sigaction rt_sigprocmask clone futex exit
exit_group madvise statx getdents64 ioctl fcntl pipe2 dup3 wait4 poll epoll_create1 epoll_ctl epoll_wait
eventfd2 accept4 sendmsg recvmsg getsockopt setsockopt clock_nanosleep sched_getaffinity close_range
faccessat2 fchmodat2 openat2 memfd_create membarrier pidfd_open pidfd_send_signal mseal"""
MUSL = """open stat lstat readv writev fork vfork pipe dup2 nanosleep select poll epoll_wait getdents64
set_tid_address tkill rt_sigreturn uname getcwd chdir mkdir unlink rename chmod chown utimensat"""


@pytest.mark.parametrize("name", sorted({*GLIBC.split(), *MUSL.split()}))
def test_what_c_libraries_need_is_allowed(decide, name):
    assert decide(name) == ALLOW


@pytest.mark.parametrize(
    "name",
    """mount umount2 pivot_root setns unshare swapon reboot init_module kexec_load bpf perf_event_open
    keyctl add_key request_key open_by_handle_at acct settimeofday userfaultfd io_uring_setup
    move_pages quotactl fsopen mount_setattr ioperm syslog""".split(),
)
def test_what_changes_the_machine_is_not(decide, name):
    assert decide(name) == EPERM


def test_clone3_falls_back_to_clone(decide):
    assert decide("clone3") == ENOSYS
    assert decide("clone3", caps=("CAP_SYS_ADMIN",)) == ALLOW


@pytest.mark.parametrize("flag", [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)])
def test_clone_makes_threads_and_processes_but_no_namespaces(decide, flag):
    assert decide("clone", 0x003D0F00) == ALLOW
    assert decide("clone", 17) == ALLOW
    assert decide("clone", 17 | flag) == EPERM
    assert decide("clone", 17 | flag, caps=("CAP_SYS_ADMIN",)) == ALLOW


@pytest.mark.parametrize(
    ("family", "verdict"),
    [(1, ALLOW), (2, ALLOW), (10, ALLOW), (16, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM)],
)
def test_socket_families(decide, family, verdict):
    assert decide("socket", family) == verdict
    assert decide("socket", family, arch=I386) == verdict


@pytest.mark.parametrize("family", [38, 40])
def test_a_blocked_family_does_not_hide_behind_high_bits(decide, family):
    # The kernel reads 32 bits of what the filter sees as 64.
    assert decide("socket", 1 << 32 | family) == EPERM


@pytest.mark.parametrize(
    ("persona", "verdict"),
    [(0, ALLOW), (8, ALLOW), (0x20000, ALLOW), (0x20008, ALLOW), (0xFFFFFFFF, ALLOW), (0x40000, EPERM)],
)
def test_personalities(decide, persona, verdict):
    assert decide("personality", persona) == verdict


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        (capability, name)
        for capability, names in BY_CAPABILITY.items()
        for name in names.split()
        if name in NUMBERS and name not in ("clone", "clone3")
    ],
)
def test_a_capability_brings_its_calls(decide, capability, name):
    assert decide(name) in (EPERM, ENOSYS)
    assert decide(name, caps=(capability,)) == ALLOW


def test_calls_newer_than_the_profile_do_not_exist(run_program):
    program = compile_seccomp(default_seccomp([], "x86_64"), "x86_64").filter
    assert run_program(program, 600) == ENOSYS


def test_every_name_is_some_abis():
    known = {name for abi in ("x86_64", "i386", "x32", "aarch64") for name in syscall_numbers(abi)}
    behind_doors = {"recv", "send"}
    other_machines = set(BY_MACHINE["aarch64"].split())
    names = {name for text in (ALWAYS, *BY_CAPABILITY.values()) for name in text.split()}
    assert names - known - behind_doors - other_machines == set()


def test_aarch64_compiles(run_program):
    program = compile_seccomp(default_seccomp([], "aarch64"), "aarch64").filter
    numbers = syscall_numbers("aarch64")
    assert run_program(program, numbers["openat"], 0xC00000B7) == ALLOW
    assert run_program(program, numbers["mount"], 0xC00000B7) == EPERM


def test_the_profile_of_a_machine_without_a_table_is_still_a_profile():
    assert default_seccomp([], "riscv64").architectures is None


# What Debian's containers-common lets every container call, so that containers
# nest, and moby, containerd and we do not without the capability; kernel
# keyrings, which no namespace holds apart; NUMA policy without CAP_SYS_NICE.
STRICTER = """clone3 fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root
setns umount2 unshare pidfd_getfd reboot syslog keyctl get_mempolicy mbind set_mempolicy""".split()


@pytest.mark.differential
@pytest.mark.skipif(not DEBIANS_PROFILE.exists(), reason="containers-common's seccomp.json not on this host")
def test_beside_debians_profile(decide):
    rules = json.loads(DEBIANS_PROFILE.read_text())["syscalls"]
    theirs = {
        name
        for rule in rules
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("includes") and not rule.get("args")
        for name in rule["names"]
        if name in NUMBERS
    }
    assert {name for name in theirs if decide(name, 0) != ALLOW} == set(STRICTER)


# -- on the real kernel -------------------------------------------------------------

# Each line is a call and what it must answer; run in a child that can be lost.
PROBE = """
import ctypes, json, os, socket, subprocess, sys, threading
syscall = ctypes.CDLL(None, use_errno=True).syscall
syscall.restype = ctypes.c_long
def call(number, *args):
    result = syscall(number, *map(ctypes.c_long, args))
    return 0 if result >= 0 else ctypes.get_errno()
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
print(json.dumps({
    "mode": [line for line in open("/proc/self/status") if line.startswith("Seccomp:")][0].split()[1],
    "fork and exec": subprocess.run(["true"]).returncode,
    "tcp socket": call(41, socket.AF_INET, socket.SOCK_STREAM, 0),
    "vsock socket": call(41, 40, 1, 0),
    "unshare": call(272, 0x10000000),
    "clone3": call(435, 0, 0),
    "clone user namespace": call(56, 0x10000000 | 17, 0, 0, 0, 0),
    "mount": call(165, 0, 0, 0, 0, 0),
    "keyctl": call(250, 0, 0, 0, 0, 0),
    "personality query": call(135, 0xFFFFFFFF),
    "newer than the profile": call(600),
}))
"""
EXPECTED = {
    "mode": "2",
    "fork and exec": 0,
    "tcp socket": 0,
    "vsock socket": errno.EPERM,
    "unshare": errno.EPERM,
    "clone3": errno.ENOSYS,
    "clone user namespace": errno.EPERM,
    "mount": errno.EPERM,
    "keyctl": errno.EPERM,
    "personality query": 0,
    "newer than the profile": errno.ENOSYS,
}

x86_64_kernel = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="an x86_64 kernel is not on this host"
)


def run_filtered(program: SeccompProgram, argv: list[str]) -> subprocess.CompletedProcess[str]:
    def confine() -> None:
        set_no_new_privs()
        load_filter(*program)

    return subprocess.run(argv, preexec_fn=confine, capture_output=True, text=True, check=False)


@x86_64_kernel
def test_the_kernel_agrees():
    program = compile_seccomp(default_seccomp([], "x86_64"), "x86_64")
    done = run_filtered(program, [sys.executable, "-I", "-S", "-c", PROBE])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED


@x86_64_kernel
@pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="busybox not on this host")
def test_a_static_program_runs():
    program = compile_seccomp(default_seccomp([], "x86_64"), "x86_64")
    done = run_filtered(program, ["/bin/busybox", "sh", "-c", "echo $((6 * 7)) | /bin/busybox cat"])
    assert (done.returncode, done.stdout) == (0, "42\n")


@x86_64_kernel
def test_a_profile_that_kills_kills():
    kill_all = SeccompProgram(bytes.fromhex("0600000000000080"), 0)  # RET KILL_PROCESS
    assert run_filtered(kill_all, ["true"]).returncode == -31  # SIGSYS


@x86_64_kernel
@pytest.mark.parametrize("program", [b"", b"\0" * 8, bytes.fromhex("0600000000000080")[:7]])
def test_a_bad_program_is_refused(program):
    with pytest.raises(OSError) as caught:
        load_filter(program, 0)
    assert caught.value.errno in (errno.EINVAL, errno.EACCES)


@x86_64_kernel
def test_an_unknown_flag_is_refused():
    with pytest.raises(OSError) as caught:
        load_filter(bytes.fromhex("060000000000ff7f"), 1 << 30)
    assert caught.value.errno == errno.EINVAL
