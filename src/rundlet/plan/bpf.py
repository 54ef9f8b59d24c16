"""Classic BPF as seccomp(2) runs it: instructions, and decisions as position-free blocks.

A block is a list of instructions that always ends in a return, so blocks nest
without labels: jumps are forward only and count from the next instruction.

    struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }      <linux/filter.h>
    struct seccomp_data { int nr; u32 arch; u64 ip; u64 args[6]; }   <linux/seccomp.h>
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_GREATER_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

NUMBER_OFFSET = 0
ARCH_OFFSET = 4
ARGS_OFFSET = 16
LONGEST_PROGRAM = 4096  # BPF_MAXINSNS
_FARTHEST = 255  # jt and jf are bytes

_SOCK_FILTER = struct.Struct("=HBBI")


class Instruction(NamedTuple):
    code: int
    k: int = 0
    jt: int = 0
    jf: int = 0


Block = list[Instruction]
Range = tuple[int, Block]  # first number, decision


def encode_program(block: Sequence[Instruction]) -> bytes:
    """The block as struct sock_filter[]."""
    return b"".join(_SOCK_FILTER.pack(code, jt, jf, k) for code, k, jt, jf in block)


def decode_program(program: bytes) -> Block:
    """The inverse of `encode_program`."""
    return [Instruction(code, k, jt, jf) for code, jt, jf, k in _SOCK_FILTER.iter_unpack(program)]


def branch(test: int, k: int, yes: Block, no: Block) -> Block:
    """`test` the accumulator against `k`: `yes` when it holds, else `no`."""
    if len(no) <= _FARTHEST:
        return [Instruction(test, k, jt=len(no)), *no, *yes]
    return [Instruction(test, k, jf=1), Instruction(JUMP, len(no)), *no, *yes]


def search(ranges: Sequence[Range]) -> Block:
    """A binary search of the accumulator: the block of the last range that starts at or below it.

    `ranges` are ascending and the first starts at 0.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return branch(
        JUMP_GREATER_EQUAL, ranges[middle][0], search(ranges[middle:]), search(ranges[:middle])
    )  # fmt: skip


class Comparison(NamedTuple):
    """One argument held against a constant: `(argument & mask) <op> value`.

    `op` is eq, ne, lt, le, gt or ge; `mask` counts for eq and ne alone.
    """

    argument: int  # 0 to 5
    op: str
    value: int
    mask: int = 0xFFFF_FFFF_FFFF_FFFF


def match_all(comparisons: Iterable[Comparison], wide: bool, then: Block, otherwise: Block) -> Block:
    """`then` when every comparison holds, else `otherwise`.

    `wide`: arguments have 64 bits; else only the low word is compared.
    """
    block = then
    for comparison in reversed(list(comparisons)):
        test = _test_wide if wide else _test_narrow
        block = [*test(comparison, len(block)), *block]
    return [*block, *otherwise]


def _load_argument(argument: int, high: bool) -> Instruction:
    return Instruction(LOAD, ARGS_OFFSET + 8 * argument + 4 * high)


def _low(value: int) -> int:
    return value & 0xFFFF_FFFF


def _masked(mask: int) -> Block:
    return [] if mask == 0xFFFF_FFFF else [Instruction(AND, mask)]


# (instruction, does its truth mean the comparison holds)
_LOW_TESTS = {
    "eq": (JUMP_EQUAL, True),
    "ne": (JUMP_EQUAL, False),
    "gt": (JUMP_GREATER, True),
    "le": (JUMP_GREATER, False),
    "ge": (JUMP_GREATER_EQUAL, True),
    "lt": (JUMP_GREATER_EQUAL, False),
}


def _test_narrow(comparison: Comparison, skip: int) -> Block:
    """Fall through when it holds, else jump over `skip` more instructions."""
    argument, op, value, mask = comparison
    code, wanted = _LOW_TESTS[op]
    jump = Instruction(code, _low(value), jf=skip) if wanted else Instruction(code, _low(value), jt=skip)
    return [_load_argument(argument, high=False), *_masked(_low(mask)), jump]


def _test_wide(comparison: Comparison, skip: int) -> Block:
    """As `_test_narrow` over both words: the high one decides unless it is equal."""
    argument, op, value, mask = comparison
    low = _test_narrow(comparison, skip)
    to_end, to_skip = len(low), len(low) + skip
    high = value >> 32
    load = [_load_argument(argument, high=True), *_masked(mask >> 32)]
    if op == "eq":
        return [*load, Instruction(JUMP_EQUAL, high, jf=to_skip), *low]
    if op == "ne":
        return [*load, Instruction(JUMP_EQUAL, high, jf=to_end), *low]
    above, below = (to_end, to_skip) if op in ("gt", "ge") else (to_skip, to_end)
    return [
        *load,
        Instruction(JUMP_GREATER, high, jt=above + 1),
        Instruction(JUMP_EQUAL, high, jf=below),
        *low,
    ]
