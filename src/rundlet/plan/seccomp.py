"""linux.seccomp of config.json as a BPF program.

Sources: config-linux.md#seccomp, seccomp(2); the reading of a profile is that of
runc with libseccomp, which everybody's profiles are written for:

- a name that an ABI does not have is left out;
- a rule whose action is the default's says nothing and is left out;
- the first rule without conditions settles its syscall; without one, the first
  rule whose conditions all hold does (libseccomp's order is that of its own
  tree, and rules that contradict each other are an error there);
- two conditions on one argument are two rules, so they widen instead of narrow;
- a 32-bit ABI compares the low words only;
- what a rule says of a socket or System V IPC call holds for i386's socketcall
  and ipc too, except that a rule that allows under conditions opens neither
  (libseccomp forgets the conditions there);
- unless the default lets calls pass, a number above all those that the profile
  names gives ENOSYS: the profile's author cannot have meant to forbid a call
  that did not exist, and C libraries fall back on ENOSYS but not on EPERM.

The program asks for the architecture, then finds the number by binary search
over ranges of equal decisions: some seven comparisons for a profile of 400 names.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.plan.bpf import (
    ARCH_OFFSET,
    JUMP_EQUAL,
    LOAD,
    LONGEST_PROGRAM,
    NUMBER_OFFSET,
    RETURN,
    Block,
    Comparison,
    Instruction,
    Range,
    branch,
    encode_program,
    match_all,
    search,
)
from rundlet.plan.seccomp_program import SeccompProgram
from rundlet.plan.syscalls import SIDE_DOORS, syscall_numbers
from rundlet.spec.runtime import Seccomp, SeccompArg, SeccompSyscall

_KILL_THREAD = 0x0000_0000
_ERRNO = 0x0005_0000
_TRACE = 0x7FF0_0000
_NOTIFY = 0x7FC0_0000  # SECCOMP_RET_USER_NOTIF
_LOG = 0x7FFC_0000
_ALLOW = 0x7FFF_0000
ACTIONS = {
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": 0x8000_0000,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_NOTIFY": _NOTIFY,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_HIGHEST_ERRNO = 4095  # MAX_ERRNO; the kernel cuts larger ones down to it
_NO_SUCH_CALL = _ERRNO | errno.ENOSYS

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
_TSYNC = FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]
_WAIT_KILLABLE = FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
_NEW_LISTENER = 1 << 3
# As in runc: a profile that is silent about flags keeps its speed on processors
# where the kernel would turn on speculation barriers for filtered processes.
_DEFAULT_FLAGS = FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]

OPERATORS = {
    "SCMP_CMP_NE": "ne",
    "SCMP_CMP_LT": "lt",
    "SCMP_CMP_LE": "le",
    "SCMP_CMP_EQ": "eq",
    "SCMP_CMP_GE": "ge",
    "SCMP_CMP_GT": "gt",
    "SCMP_CMP_MASKED_EQ": "eq",
}


class Abi(NamedTuple):
    """One way into the kernel: AUDIT_ARCH_*, the bit that marks its numbers, 64-bit arguments or not."""

    table: str
    audit_arch: int
    marker: int = 0
    wide: bool = True


_X32_BIT = 0x4000_0000
_SKIPPED_CALL = 0xFFFF_FFFF
# 32-bit ARM has a few calls of its own far above the others (__ARM_NR_*): they are not new.
_ARM_PRIVATE = range(0xF_0000, 0xF_0007)
ABIS = {
    "SCMP_ARCH_X86_64": Abi("x86_64", 0xC000_003E),
    "SCMP_ARCH_X86": Abi("i386", 0x4000_0003, wide=False),
    "SCMP_ARCH_X32": Abi("x32", 0xC000_003E, _X32_BIT, wide=False),
    "SCMP_ARCH_AARCH64": Abi("aarch64", 0xC000_00B7),
    "SCMP_ARCH_ARM": Abi("arm", 0x4000_0028, wide=False),
}
# Every name that the specification has; calls of other machines' ABIs never come to a filter here.
ARCHITECTURES = frozenset(
    f"SCMP_ARCH_{name}"
    for name in """X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE
    S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB""".split()
)
_MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


class _Rule(NamedTuple):
    comparisons: tuple[Comparison, ...]
    action: int


def compile_seccomp(profile: Seccomp, machine: str = os.uname().machine) -> SeccompProgram:
    """The program that decides as the profile says, for all ABIs that it allows and `machine` has.

    A call through any other ABI kills its thread.  With SCMP_ACT_NOTIFY among the
    rules the flags ask for a listener, which seccomp(2) then returns.
    Raises InvalidArgument for a profile that makes no sense and Unimplemented
    for machines without a syscall table.
    """
    default = _action(profile.default_action, profile.default_errno_ret)
    if default == _NOTIFY:
        raise InvalidArgument("seccomp: SCMP_ACT_NOTIFY as the default action would stop every call")
    rules = [
        (syscall.names, rule) for syscall in profile.syscalls or () for rule in _read_rules(syscall)
    ]  # fmt: skip
    sections: dict[int, list[Range]] = {}
    for abi in _select_abis(profile, machine):
        ranges = _compile_abi(abi, rules, default)
        sections.setdefault(abi.audit_arch, []).extend(ranges)
    program = _dispatch(sections)
    if len(program) > LONGEST_PROGRAM:
        raise InvalidArgument(
            f"seccomp profile needs {len(program)} BPF instructions and the kernel takes {LONGEST_PROGRAM}"
        )
    notifies = any(rule.action == _NOTIFY for _, rule in rules)
    return SeccompProgram(encode_program(program), _adapt_flags(_read_flags(profile), notifies))


# -- reading the profile -------------------------------------------------------


def _action(name: str, errno_ret: int | None) -> int:
    """SECCOMP_RET_* with its data."""
    if name not in ACTIONS:
        raise InvalidArgument(f"seccomp: unknown action {name!r}")
    action = ACTIONS[name]
    if action not in (_ERRNO, _TRACE):
        if errno_ret is not None:
            raise InvalidArgument(f"seccomp: action {name} takes no errnoRet")
        return action
    number = errno.EPERM if errno_ret is None else errno_ret
    if not 0 <= number <= _HIGHEST_ERRNO:
        raise InvalidArgument(f"seccomp: errnoRet {number} is not in 0 to {_HIGHEST_ERRNO}")
    return action | number


def _read_rules(syscall: SeccompSyscall) -> Iterator[_Rule]:
    action = _action(syscall.action, syscall.errno_ret)
    comparisons = [_read_comparison(arg) for arg in syscall.args or ()]
    if len({comparison.argument for comparison in comparisons}) < len(comparisons):
        for comparison in comparisons:
            yield _Rule((comparison,), action)
    else:
        yield _Rule(tuple(comparisons), action)


def _read_comparison(arg: SeccompArg) -> Comparison:
    if not 0 <= arg.index <= 5:
        raise InvalidArgument(f"seccomp: argument index {arg.index} is not in 0 to 5")
    if arg.op not in OPERATORS:
        raise InvalidArgument(f"seccomp: unknown operator {arg.op!r}")
    for value in (arg.value, arg.value_two):
        if not 0 <= value < 1 << 64:
            raise InvalidArgument(f"seccomp: argument value {value} does not fit 64 bits")
    if arg.op == "SCMP_CMP_MASKED_EQ":
        return Comparison(arg.index, "eq", arg.value_two & arg.value, mask=arg.value)
    return Comparison(arg.index, OPERATORS[arg.op], arg.value)


def _read_flags(profile: Seccomp) -> int:
    if profile.flags is None:
        return _DEFAULT_FLAGS
    flags = 0
    for name in profile.flags:
        if name not in FLAGS:
            raise InvalidArgument(f"seccomp: unknown flag {name!r}")
        flags |= FLAGS[name]
    return flags


def _adapt_flags(flags: int, notifies: bool) -> int:
    """The kernel refuses TSYNC with a listener, and WAIT_KILLABLE_RECV without one."""
    return flags & ~_TSYNC | _NEW_LISTENER if notifies else flags & ~_WAIT_KILLABLE


def _select_abis(profile: Seccomp, machine: str) -> list[Abi]:
    """The machine's own ABI and those others of it that the profile lists."""
    if machine not in _MACHINES:
        raise Unimplemented(f"seccomp: no syscall table for {machine}")
    for name in profile.architectures or ():
        if name not in ARCHITECTURES:
            raise InvalidArgument(f"seccomp: unknown architecture {name!r}")
    native, *others = _MACHINES[machine]
    return [
        ABIS[name] for name in (native, *others) if name == native or name in (profile.architectures or ())
    ]


def _decide_newer(default: int) -> int:
    """The action for calls newer than the profile."""
    return default if default in (_ALLOW, _LOG) or default & ~0xFFFF == _TRACE else _NO_SUCH_CALL


# -- writing the program -------------------------------------------------------


def _compile_abi(abi: Abi, rules: Iterable[tuple[list[str], _Rule]], default: int) -> list[Range]:
    """The ABI's part of the search, ascending."""
    by_number: dict[int, list[_Rule]] = {}
    last = -1
    for names, rule in rules:
        for name in names:
            for number, found in _find_doors(abi.table, name, rule):
                last = max(last, number if number < _ARM_PRIVATE.start else -1)
                if found.action != default:
                    by_number.setdefault(number, []).append(found)
    decisions = {number: _settle(found) for number, found in by_number.items()}
    newer = (_Rule((), _decide_newer(default) if last >= 0 else default),)
    ranges = list(_merge_ranges(decisions, 0, last + 1, newer))
    if abi.table == "arm":
        ranges += _merge_ranges(decisions, _ARM_PRIVATE.start, _ARM_PRIVATE.stop, newer)
    if abi.table == "x86_64":
        # x32's ranges replace this one when the profile allows that ABI.  -1 is
        # what a tracer writes to have a call skipped: no call of x32's.
        ranges += [(_X32_BIT, (_Rule((), _KILL_THREAD),)), (_SKIPPED_CALL, newer)]
    return [
        (number | abi.marker, _compile_decision(decision, abi.wide, default)) for number, decision in ranges
    ]


def _find_doors(table: str, name: str, rule: _Rule) -> Iterator[tuple[int, _Rule]]:
    """(number, rule) for each way in which the ABI reaches the call; none when it lacks it.

    A side door hides the arguments behind a pointer, so a rule with conditions
    holds there without them when it forbids, and not at all when it allows.
    """
    numbers = syscall_numbers(table)
    if name in numbers:
        yield numbers[name], rule
    door = SIDE_DOORS.get(table, {}).get(name)
    if door and (not rule.comparisons or rule.action not in (_ALLOW, _LOG)):
        through = Comparison(0, "eq", door.code, mask=door.mask)
        yield numbers[door.syscall], _Rule((through,), rule.action)


def _settle(rules: list[_Rule]) -> tuple[_Rule, ...]:
    """The rules that count for one syscall."""
    for rule in rules:
        if not rule.comparisons:
            return (rule,)
    return tuple(dict.fromkeys(rules))


def _merge_ranges(
    decisions: Mapping[int, tuple[_Rule, ...]], start: int, end: int, beyond: tuple[_Rule, ...]
) -> Iterator[tuple[int, tuple[_Rule, ...]]]:
    """(first number, decision) of each run of equal decisions; () is the default, `beyond` starts at `end`."""
    previous: tuple[_Rule, ...] | None = None
    for number in range(start, end):
        decision = decisions.get(number, ())
        if decision != previous:
            yield number, decision
        previous = decision
    if beyond != previous:
        yield end, beyond


def _compile_decision(rules: tuple[_Rule, ...], wide: bool, default: int) -> Block:
    block = [Instruction(RETURN, default)]
    for rule in reversed(rules):
        verdict = [Instruction(RETURN, rule.action)]
        block = match_all(rule.comparisons, wide, verdict, block) if rule.comparisons else verdict
    return block


def _dispatch(sections: Mapping[int, list[Range]]) -> Block:
    """Architecture first (the machine's own before others), then the search."""
    block = [Instruction(RETURN, _KILL_THREAD)]
    for audit_arch, ranges in reversed(list(sections.items())):
        # Of two blocks for one number the later ABI's counts.
        section = [Instruction(LOAD, NUMBER_OFFSET), *search(sorted(dict(ranges).items()))]
        block = branch(JUMP_EQUAL, audit_arch, section, block)
    return [Instruction(LOAD, ARCH_OFFSET), *block]
