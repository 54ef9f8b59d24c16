"""Device rules as a BPF_PROG_TYPE_CGROUP_DEVICE program, for cgroup version 2.  Pure.

Sources: cgroup-v2.rst "Device controller", <linux/bpf.h>, the kernel's
bpf/standardization/instruction-set.rst.

    struct bpf_insn { u8 code; u8 dst:4, src:4; s16 off; s32 imm; }
    struct bpf_cgroup_dev_ctx { u32 access_type;  (access << 16) | type
                                u32 major; u32 minor; }

    r1 context   r2 type   r3 access not settled yet   r4 major   r5 minor   r0 scratch, verdict

The rules are asked from the last to the first.  One that names the device settles
the kinds of access that it has: a denial of any that is wanted ends it, and so
does the last wanted kind that is allowed.  No instruction is left without a way
to it: the verifier refuses dead code.
"""

import struct
from collections.abc import Sequence

from rundlet.errors import InvalidArgument
from rundlet.plan.device_rules import ANY_ACCESS, Rule

_INSN = struct.Struct("=BBhI")
_LOAD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_EXIT = 0x95  # BPF_JMP | BPF_EXIT
_MOVE = 0xB4  # BPF_ALU | BPF_MOV | BPF_K
_MOVE_REGISTER = 0xBC  # BPF_ALU | BPF_MOV | BPF_X
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_SHIFT_RIGHT = 0x74  # BPF_ALU | BPF_RSH | BPF_K
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_UNEQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K

_VERDICT, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)
_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_LONGEST_PROGRAM = 4096  # BPF_MAXINSNS, what every kernel with this program type takes


def _insn(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return _INSN.pack(code, source << 4 | to, offset, value)


def _give(verdict: bool) -> list[bytes]:
    return [_insn(_MOVE, _VERDICT, value=int(verdict)), _insn(_EXIT)]


_PROLOGUE = [
    _insn(_LOAD, _TYPE, _CONTEXT, 0),
    _insn(_MOVE_REGISTER, _ACCESS, _TYPE),
    _insn(_AND, _TYPE, value=0xFFFF),
    _insn(_SHIFT_RIGHT, _ACCESS, value=16),
    _insn(_LOAD, _MAJOR, _CONTEXT, 4),
    _insn(_LOAD, _MINOR, _CONTEXT, 8),
    _insn(_JUMP_UNEQUAL, _ACCESS, offset=2, value=0),
    *_give(verdict=True),
]


def build_device_filter(rules: Sequence[Rule]) -> bytes:
    """The program, as struct bpf_insn[], for rules whose first settles everything.

    Raises InvalidArgument when there are more rules than a program holds.
    """
    program = list(_PROLOGUE)
    for rule in reversed(rules[1:]):
        program += _judge(rule)
    program += _give(rules[0].allow)
    if len(program) > _LONGEST_PROGRAM:
        raise InvalidArgument(f"devices: {len(rules)} rules are more than a device program holds")
    return b"".join(program)


def _judge(rule: Rule) -> list[bytes]:
    """Exit when the rule settles the request, else fall through."""
    if rule.allow:
        left = ~rule.access & ANY_ACCESS
        act = [_insn(_AND, _ACCESS, value=left), _insn(_JUMP_UNEQUAL, _ACCESS, offset=2, value=0)]
    else:
        act = [
            _insn(_MOVE_REGISTER, _VERDICT, _ACCESS),
            _insn(_AND, _VERDICT, value=rule.access),
            _insn(_JUMP_EQUAL, _VERDICT, offset=2, value=0),
        ]
    block = [*act, *_give(rule.allow)]
    wanted = ((_TYPE, _TYPES.get(rule.kind)), (_MAJOR, rule.major), (_MINOR, rule.minor))
    for register, number in reversed(wanted):
        if number is not None:
            block.insert(0, _insn(_JUMP_UNEQUAL, register, offset=len(block), value=number))
    return block
