"""Our programs beside libseccomp's: the same decision for every call.

Known differences, kept out of the random profiles:

- Several rules with inequalities for one syscall: libseccomp 2.5 merges their
  trees wrongly (LE 1 or LT 5<<32, asked about 0xffffffff: no match), ours are a
  plain "first that holds".  So are rules that contradict each other.
- x32 among small profiles: libseccomp 2.5 compares the number before loading it.
  The default profile, which is large, covers x32.
- Conditions on calls behind i386's socketcall and ipc: see plan.seccomp.
- Calls newer than the profile: runc's patch in front of libseccomp's program
  answers them with ENOSYS; `expect` adds it.
"""

import errno
import tempfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rundlet.plan.seccomp import compile_seccomp
from rundlet.plan.seccomp_default import default_seccomp
from rundlet.plan.syscalls import SIDE_DOORS, syscall_numbers
from rundlet.spec.runtime import Seccomp, SeccompArg, SeccompSyscall

try:
    import pyseccomp
except (ImportError, RuntimeError, OSError):
    pytest.skip("pyseccomp with libseccomp not on this host", allow_module_level=True)

pytestmark = pytest.mark.differential

ENOSYS = 0x50000 | errno.ENOSYS
X32_BIT, SKIPPED = 0x40000000, 0xFFFFFFFF
ABIS = {"x86_64": 0xC000003E, "i386": 0x40000003, "x32": 0xC000003E}
OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
NAMES = """read write open close clone personality socket socketcall bind setuid mmap2 openat ioctl
rt_sigaction waitpid keyctl shmget shmat ipc futex_time64""".split()
DOORS = SIDE_DOORS["i386"]


def convert_action(name, errno_ret):
    if name == "SCMP_ACT_ERRNO":
        return pyseccomp.ERRNO(1 if errno_ret is None else errno_ret)
    return getattr(pyseccomp, name.removeprefix("SCMP_ACT_"))


def compile_reference(profile):
    """libseccomp's program for a profile, fed as runc feeds it."""
    default = convert_action(profile.default_action, profile.default_errno_ret)
    reference = pyseccomp.SyscallFilter(default)
    for name in profile.architectures[1:]:
        reference.add_arch(getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_")))
    for rule in profile.syscalls:
        action = convert_action(rule.action, rule.errno_ret)
        if action == default:
            continue
        args = [
            pyseccomp.Arg(a.index, getattr(pyseccomp, a.op.removeprefix("SCMP_CMP_")), a.value, a.value_two)
            for a in rule.args or ()
        ]
        for name in rule.names:
            reference.add_rule(action, name, *args)
    with tempfile.TemporaryFile() as file:
        reference.export_bpf(file)
        file.seek(0)
        return file.read()


def expect(run_program, profile, reference, abi, number, args):
    """libseccomp's decision, after runc's answer to newer calls."""
    x32 = abi == "x86_64" and "SCMP_ARCH_X32" in profile.architectures and number >= X32_BIT
    numbers = syscall_numbers("x32" if x32 and number != SKIPPED else abi)
    named = [numbers[name] for rule in profile.syscalls for name in rule.names if name in numbers]
    permissive = profile.default_action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    foreign = abi == "x86_64" and X32_BIT <= number < SKIPPED and not x32
    listed = abi == "x86_64" or "SCMP_ARCH_X86" in profile.architectures
    if named and not permissive and listed and not foreign:
        newest = max(named) | (X32_BIT if x32 and number != SKIPPED else 0)
        if number > newest:
            return ENOSYS
    return run_program(reference, number, ABIS[abi], args)


WORDS = st.sampled_from([0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
VALUES = st.builds(lambda high, low: high << 32 | low, WORDS, WORDS)


def conditions(indices, operators):
    return [
        st.builds(
            SeccompArg,
            index=st.just(index),
            op=st.sampled_from(operators).map("SCMP_CMP_{}".format),
            value=VALUES,
            value_two=VALUES,
        )
        for index in indices
    ]


@st.composite
def rule_groups(draw, name, action):
    """The rules of one syscall: one with any conditions, or several with equalities."""
    several = draw(st.booleans())
    indices = draw(st.lists(st.integers(0, 5), unique=True, max_size=6))
    if several and indices:
        found = draw(st.lists(st.tuples(*conditions(indices[:1], ["EQ"])), min_size=1, max_size=5))
    else:
        found = [draw(st.tuples(*conditions(indices, OPERATORS)))]
    return [
        SeccompSyscall(names=[name], action=action[0], errno_ret=action[1], args=list(args)) for args in found
    ]


@st.composite
def profiles(draw):
    default = draw(st.sampled_from(["ALLOW", "LOG", "ERRNO", "KILL", "KILL_PROCESS", "TRAP"]))
    action = draw(
        st.sampled_from([("SCMP_ACT_ERRNO", 95), ("SCMP_ACT_ERRNO", None), ("SCMP_ACT_ALLOW", None)])
    )
    assume(action[0] != f"SCMP_ACT_{default}")
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=8))
    groups = [draw(rule_groups(name, action)) for name in names]
    architectures = draw(st.sampled_from([["SCMP_ARCH_X86_64"], ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]]))
    return Seccomp(
        default_action=f"SCMP_ACT_{default}",
        architectures=architectures,
        syscalls=[rule for group in groups for rule in group],
    )


def hides_conditions(profile, abi, number):
    doors = {syscall_numbers("i386")[door] for door in ("socketcall", "ipc")}
    conditional = any(rule.args and set(rule.names) & set(DOORS) for rule in profile.syscalls)
    return abi == "i386" and number in doors and conditional


@given(profiles(), st.data())
def test_random_profiles(run_program, profile, data):
    reference = compile_reference(profile)
    ours = compile_seccomp(profile, "x86_64").filter
    # Arguments near the constants of the profile decide most.
    constants = {
        value for rule in profile.syscalls for a in rule.args or () for value in (a.value, a.value_two)
    }
    near = {(constant + step) % 2**64 for constant in constants for step in (-1, 0, 1)}
    values = VALUES | st.sampled_from(sorted(near)) if near else VALUES
    numbers = [*range(0, 470, 13), X32_BIT - 1, X32_BIT, SKIPPED]
    for abi in ("x86_64", "i386"):
        table = syscall_numbers(abi)
        for number in [*(table[name] for name in NAMES if name in table), *numbers]:
            if not hides_conditions(profile, abi, number):
                args = data.draw(st.lists(values, min_size=6, max_size=6))
                expected = expect(run_program, profile, reference, abi, number, args)
                assert run_program(ours, number, ABIS[abi], args) == expected, (abi, number, args)


def is_known(name):
    try:
        pyseccomp.SyscallFilter(pyseccomp.ALLOW).add_rule(pyseccomp.KILL, name)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("capabilities", [[], ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]], ids=["plain", "admin"])
@pytest.mark.parametrize("abi", ["x86_64", "i386", "x32"])
def test_the_default_profile(run_program, capabilities, abi):
    profile = default_seccomp(capabilities, "x86_64")
    known = [rule.replace(names=[*filter(is_known, rule.names)]) for rule in profile.syscalls]
    profile = profile.replace(syscalls=[rule for rule in known if rule.names])
    reference = compile_reference(profile)
    ours = compile_seccomp(profile, "x86_64").filter
    marker = X32_BIT if abi == "x32" else 0
    # libseccomp 2.5 does not know that x32 has it.
    newer = {syscall_numbers("x32")["map_shadow_stack"]} if abi == "x32" else set()
    for number in sorted(set(range(600)) - newer):
        for first in (0, 8, 17, 38, 39, 40, 45, 46, 0x20000, 0xFFFFFFFF, 2**32 + 1, 2**32 + 40, 0x10000011):
            args = [first, 1, 2, 3, 4, 5]
            table = "x86_64" if abi == "x32" else abi
            expected = expect(run_program, profile, reference, table, number | marker, args)
            assert run_program(ours, number | marker, ABIS[abi], args) == expected, (number, first)


@pytest.mark.parametrize("abi", ["x86_64", "x86", "x32", "aarch64", "arm"])
def test_every_number_that_libseccomp_knows_is_ours(abi):
    arch = getattr(pyseccomp.Arch, abi.upper())
    ours = syscall_numbers({"x86": "i386"}.get(abi, abi))
    theirs = {name: pyseccomp.resolve_syscall(arch, name) for name in ours}
    marker = 0x4000_0000 if abi == "x32" else 0
    known = {name: number - marker for name, number in theirs.items() if number >= 0}
    assert len(known) > 300
    assert known == {name: ours[name] for name in known}
