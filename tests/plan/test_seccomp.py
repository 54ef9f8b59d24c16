import errno
import hashlib
import os

import pytest

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.plan.seccomp import compile_seccomp
from rundlet.plan.seccomp_cache import load_program
from rundlet.plan.syscalls import syscall_numbers
from rundlet.spec.json import decode
from rundlet.spec.runtime import Seccomp, SeccompArg, SeccompSyscall

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
X32_BIT = 0x40000000
KILL_THREAD, TRAP, ERRNO, LOG, ALLOW = 0, 0x30000, 0x50000, 0x7FFC0000, 0x7FFF0000
NUMBERS = syscall_numbers("x86_64")
BOTH = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def arg(index, op, value, value_two=0):
    return SeccompArg(index=index, op=f"SCMP_CMP_{op}", value=value, value_two=value_two)


def rule(names, action, *args, errno_ret=None):
    return SeccompSyscall(
        names=names.split(), action=f"SCMP_ACT_{action}", args=list(args), errno_ret=errno_ret
    )


def profile(default, *rules, **rest):
    return Seccomp(default_action=f"SCMP_ACT_{default}", syscalls=list(rules), **rest)


@pytest.fixture
def decide(run_program):
    def decide(seccomp, name, *args, arch=X86_64, number=None):
        program = compile_seccomp(seccomp, "x86_64")
        table = {X86_64: "x86_64", I386: "i386"}.get(arch, "x86_64")
        found = syscall_numbers(table)[name] if number is None else number
        return run_program(program.filter, found, arch, args)

    return decide


@pytest.mark.parametrize(
    ("action", "errno_ret", "value"),
    [
        ("ALLOW", None, ALLOW),
        ("LOG", None, LOG),
        ("TRAP", None, TRAP),
        ("KILL", None, KILL_THREAD),
        ("KILL_THREAD", None, KILL_THREAD),
        ("KILL_PROCESS", None, 0x80000000),
        ("ERRNO", None, ERRNO | errno.EPERM),
        ("ERRNO", 0, ERRNO),
        ("ERRNO", 95, ERRNO | 95),
        ("TRACE", None, 0x7FF00000 | errno.EPERM),
        ("TRACE", 7, 0x7FF00000 | 7),
    ],
)
def test_actions(decide, action, errno_ret, value):
    seccomp = profile("ERRNO", rule("read", action, errno_ret=errno_ret), default_errno_ret=13)
    assert decide(seccomp, "read") == value


def test_what_no_rule_names_gets_the_default(decide):
    seccomp = profile("ERRNO", rule("read close", "ALLOW"), default_errno_ret=13)
    assert decide(seccomp, "write") == ERRNO | 13


def test_names_that_no_abi_has_are_left_out(decide):
    assert decide(profile("ERRNO", rule("read never_heard_of waitpid", "ALLOW")), "read") == ALLOW


def test_conditions_on_several_arguments_must_all_hold(decide):
    seccomp = profile("ERRNO", rule("read", "ALLOW", arg(0, "EQ", 3), arg(2, "LT", 2**40)))
    assert decide(seccomp, "read", 3, 0, 2**40 - 1) == ALLOW
    assert decide(seccomp, "read", 3, 0, 2**40) == ERRNO | 1
    assert decide(seccomp, "read", 4, 0, 0) == ERRNO | 1


def test_two_conditions_on_one_argument_widen(decide):
    seccomp = profile("ERRNO", rule("personality", "ALLOW", arg(0, "EQ", 0), arg(0, "EQ", 8)))
    assert [decide(seccomp, "personality", value) for value in (0, 8, 4)] == [ALLOW, ALLOW, ERRNO | 1]


def test_masked_equality_takes_the_mask_from_value(decide):
    seccomp = profile("ERRNO", rule("clone", "ALLOW", arg(0, "MASKED_EQ", 0x7E020000, 0)))
    assert decide(seccomp, "clone", 0x00010F11) == ALLOW
    assert decide(seccomp, "clone", 0x10000011) == ERRNO | 1


def test_a_rule_without_conditions_settles_the_call_wherever_it_stands(decide):
    narrow, broad = rule("read", "ERRNO", arg(0, "EQ", 3), errno_ret=5), rule("read", "LOG")
    for order in ((narrow, broad), (broad, narrow)):
        assert decide(profile("ALLOW", *order), "read", 3) == LOG


def test_of_conditional_rules_the_first_that_holds_counts(decide):
    seccomp = profile(
        "ALLOW",
        rule("read", "ERRNO", arg(0, "GT", 5), errno_ret=5),
        rule("read", "LOG", arg(1, "EQ", 1)),
    )
    assert decide(seccomp, "read", 9, 1) == ERRNO | 5
    assert decide(seccomp, "read", 2, 1) == LOG
    assert decide(seccomp, "read", 2, 2) == ALLOW


def test_a_rule_that_repeats_the_default_hides_nothing(decide):
    seccomp = profile("ERRNO", rule("read", "ERRNO"), rule("read", "ALLOW"))
    assert decide(seccomp, "read") == ALLOW


@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "TRAP"])
def test_calls_newer_than_the_profile_do_not_exist(decide, default):
    seccomp = profile(default, rule("openat2", "ALLOW"))
    assert decide(seccomp, "openat2") == ALLOW
    assert decide(seccomp, "faccessat2") == ERRNO | errno.ENOSYS
    assert decide(seccomp, "", number=5000) == ERRNO | errno.ENOSYS
    assert decide(seccomp, "read") != ERRNO | errno.ENOSYS


@pytest.mark.parametrize(("default", "value"), [("ALLOW", ALLOW), ("LOG", LOG), ("TRACE", 0x7FF00001)])
def test_a_default_that_lets_pass_lets_newer_calls_pass(decide, default, value):
    assert decide(profile(default, rule("read", "ERRNO", errno_ret=5)), "", number=5000) == value


def test_without_any_name_the_default_holds_everywhere(decide):
    assert decide(profile("ERRNO"), "", number=5000) == ERRNO | 1


def test_other_architectures_kill_unless_listed(decide):
    seccomp = profile("ALLOW", rule("read", "TRAP"))
    assert decide(seccomp, "read", arch=AARCH64) == KILL_THREAD
    assert decide(seccomp, "read", arch=I386) == KILL_THREAD
    assert decide(profile("ALLOW", rule("read", "TRAP"), architectures=BOTH), "read", arch=I386) == TRAP


def test_the_machines_own_architecture_need_not_be_listed(decide):
    assert decide(profile("ERRNO", rule("read", "ALLOW"), architectures=[]), "read") == ALLOW


def test_x32_numbers_kill_unless_listed(decide):
    closed = profile("ERRNO", rule("read ioctl", "ALLOW"))
    listed = profile("ERRNO", rule("read ioctl", "ALLOW"), architectures=["SCMP_ARCH_X32"])
    assert decide(closed, "", number=X32_BIT | 0) == KILL_THREAD
    assert decide(listed, "", number=X32_BIT | 0) == ALLOW
    assert decide(listed, "", number=X32_BIT | 514) == ALLOW  # x32 has its own ioctl
    assert decide(listed, "", number=X32_BIT | 16) == ERRNO | 1  # and not x86_64's
    assert decide(listed, "ioctl") == ALLOW


@pytest.mark.parametrize("architectures", [None, ["SCMP_ARCH_X32"]])
def test_a_call_that_a_tracer_skipped_is_not_taken_for_x32(decide, architectures):
    assert decide(profile("ALLOW", rule("read", "TRAP"), architectures=architectures), "", number=2**32 - 1)


def test_a_32_bit_abi_compares_low_words(decide):
    seccomp = profile("ERRNO", rule("read", "ALLOW", arg(0, "EQ", 3)), architectures=BOTH)
    garbage = 7 << 32 | 3
    assert decide(seccomp, "read", garbage, arch=I386) == ALLOW
    assert decide(seccomp, "read", garbage) == ERRNO | 1


def test_a_forbidden_socket_call_is_not_reached_through_socketcall(decide):
    seccomp = profile("ALLOW", rule("socket", "ERRNO"), architectures=BOTH)
    assert decide(seccomp, "socketcall", 1, arch=I386) == ERRNO | 1
    assert decide(seccomp, "socketcall", 3, arch=I386) == ALLOW  # connect
    assert decide(seccomp, "socket", arch=I386) == ERRNO | 1


def test_a_condition_that_socketcall_hides_counts_against_the_caller(decide):
    deny = profile("ALLOW", rule("socket", "ERRNO", arg(0, "EQ", 40)), architectures=BOTH)
    allow = profile("ERRNO", rule("socket listen", "ALLOW", arg(0, "EQ", 2)), architectures=BOTH)
    assert decide(deny, "socketcall", 1, arch=I386) == ERRNO | 1
    assert decide(allow, "socketcall", 1, arch=I386) == ERRNO | 1


def test_ipc_keeps_its_version_apart(decide):
    seccomp = profile("ALLOW", rule("shmat", "ERRNO"), architectures=BOTH)
    assert decide(seccomp, "ipc", 21, arch=I386) == ERRNO | 1
    assert decide(seccomp, "ipc", 1 << 16 | 21, arch=I386) == ERRNO | 1
    assert decide(seccomp, "ipc", 22, arch=I386) == ALLOW


def test_aarch64_has_its_own_numbers(run_program):
    program = compile_seccomp(profile("ERRNO", rule("openat open", "ALLOW")), "aarch64").filter
    assert run_program(program, 56, AARCH64) == ALLOW
    assert run_program(program, 2, AARCH64) == ERRNO | 1
    assert run_program(program, 0, X86_64) == KILL_THREAD


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"], 3),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
    ],
)
def test_flags(flags, value):
    assert compile_seccomp(profile("ALLOW", flags=flags), "x86_64").flags == value


BAD = {
    "action": profile("ALLOW", rule("read", "PERHAPS")),
    "default action": profile("PERHAPS"),
    "errno of an action without": profile("ALLOW", rule("read", "TRAP", errno_ret=1)),
    "errno of a default without": profile("ALLOW", default_errno_ret=1),
    "errno range": profile("ALLOW", rule("read", "ERRNO", errno_ret=4096)),
    "operator": profile("ALLOW", rule("read", "TRAP", arg(0, "LIKE", 1))),
    "argument index": profile("ALLOW", rule("read", "TRAP", arg(6, "EQ", 1))),
    "argument value": profile("ALLOW", rule("read", "TRAP", arg(0, "EQ", 2**64))),
    "default that asks a listener": profile("NOTIFY"),
    "flag": profile("ALLOW", flags=["SECCOMP_FILTER_FLAG_FAST"]),
    "architecture": profile("ALLOW", architectures=["x86_64"]),
}


@pytest.mark.parametrize("seccomp", BAD.values(), ids=BAD.keys())
def test_bad_profiles_are_refused(seccomp):
    with pytest.raises(InvalidArgument):
        compile_seccomp(seccomp, "x86_64")


def test_what_is_not_done_yet_says_so():
    with pytest.raises(Unimplemented):
        compile_seccomp(profile("ALLOW"), "s390x")


def test_32_bit_arm_on_aarch64(run_program):
    arm = 0x40000028
    listed = profile("ERRNO", rule("openat set_tls", "ALLOW"), architectures=["SCMP_ARCH_ARM"])
    program = compile_seccomp(listed, "aarch64").filter
    assert run_program(program, 322, arm) == ALLOW
    assert run_program(program, 0xF0005, arm) == ALLOW
    assert run_program(program, 0xF0002, arm) == ERRNO | 1  # cacheflush is no new call
    assert run_program(program, 5, arm) == ERRNO | 1
    assert run_program(program, 460, arm) == ERRNO | 38
    assert run_program(program, 0xF0007, arm) == ERRNO | 38
    assert run_program(program, 56, AARCH64) == ALLOW
    alone = compile_seccomp(profile("ALLOW"), "aarch64").filter
    assert run_program(alone, 322, arm) == KILL_THREAD


def test_a_listener_is_asked_and_its_flags_fit(run_program):
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    asking = compile_seccomp(profile("ALLOW", rule("mkdir", "NOTIFY"), flags=flags), "x86_64")
    assert run_program(asking.filter, NUMBERS["mkdir"]) == 0x7FC00000
    assert asking.flags == 1 << 3 | 1 << 5
    silent = compile_seccomp(profile("ALLOW", flags=flags), "x86_64")
    assert silent.flags == 1 << 0


def test_a_profile_too_large_for_the_kernel_is_refused():
    rules = [
        rule(name, "ALLOW", arg(0, "EQ", number + value))
        for name, number in NUMBERS.items()
        for value in range(6)
    ]
    with pytest.raises(InvalidArgument):
        compile_seccomp(profile("ERRNO", *rules), "x86_64")


def test_a_profile_from_json(decide):
    seccomp = decode(
        b'{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{"names": ["read"],'
        b' "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 2, "op": "SCMP_CMP_NE"}]}]}',
        Seccomp,
        "profile",
    )
    assert decide(seccomp, "read", 0, 2) == ERRNO | 38
    assert decide(seccomp, "read", 0, 3) == ALLOW


# -- the cache -------------------------------------------------------------------

needs_table = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="syscall table not on this host"
)


@needs_table
def test_a_program_comes_back_from_the_cache(tmp_path):
    seccomp = profile("ERRNO", rule("read", "ALLOW"))
    first = load_program(seccomp, str(tmp_path / "seccomp"))
    (entry,) = (tmp_path / "seccomp").iterdir()
    assert first == compile_seccomp(seccomp)
    # What is read is what the file says, not what a compiler would.
    body = b"\x04\0\0\0" + b"\x06\0\0\0\0\0\xff\x7f"
    entry.write_bytes(hashlib.sha256(body).digest() + body)
    assert load_program(seccomp, str(tmp_path / "seccomp")).filter == body[4:]


@needs_table
@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 100])
def test_a_damaged_entry_is_made_anew(tmp_path, damage):
    seccomp = profile("ERRNO", rule("read", "ALLOW"))
    first = load_program(seccomp, str(tmp_path))
    (entry,) = tmp_path.iterdir()
    good = entry.read_bytes()
    entry.write_bytes(damage)
    assert load_program(seccomp, str(tmp_path)) == first
    assert entry.read_bytes() == good


@needs_table
def test_different_profiles_do_not_share_an_entry(tmp_path):
    load_program(profile("ERRNO", rule("read", "ALLOW")), str(tmp_path))
    load_program(profile("ERRNO", rule("read", "LOG")), str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


@needs_table
def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("")
    seccomp = profile("ERRNO", rule("read", "ALLOW"))
    assert load_program(seccomp, str(tmp_path / "file")) == compile_seccomp(seccomp)
