"""Seccomp profiles: refused, or a program that the kernel takes and that ends by an answer for every call."""

import json

from rundlet.plan.bpf import decode_program
from rundlet.plan.seccomp import compile_seccomp
from rundlet.spec.json import decode, encode
from rundlet.spec.runtime import Seccomp
from tests.fuzz.mutation import of_json
from tests.fuzz.target import again
from tests.plan.conftest import run

_ARGS = [
    {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
    {"index": 1, "value": 1 << 40, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"},
]
_FULL = {
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
    "syscalls": [
        {"names": ["read", "write", "nosuch"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": _ARGS},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [{**_ARGS[0], "op": "SCMP_CMP_GT"}]},
        {"names": ["clone"], "action": "SCMP_ACT_NOTIFY"},
    ],
}  # fmt: skip
SEEDS = (json.dumps(_FULL).encode(), b'{"defaultAction":"SCMP_ACT_ALLOW"}')
MUTATE = of_json(
    "SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_TRAP SCMP_ACT_TRACE SCMP_ACT_LOG SCMP_ACT_ALLOW SCMP_CMP_NE SCMP_CMP_LT"
    " SCMP_CMP_LE SCMP_CMP_GE SCMP_ARCH_ARM SECCOMP_FILTER_FLAG_TSYNC open openat ioctl socketcall accept4 args index op"
)
_INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS of <linux/bpf_common.h>
_ARCHES = (0xC000003E, 0x40000003, 0xC00000B7, 0)


def check(data: bytes) -> None:
    profile = decode(data, Seccomp, "seccomp")
    assert again(decode, encode(profile), Seccomp, "seccomp") == profile
    program = compile_seccomp(profile, "x86_64").filter
    if len(decode_program(program)) > _INSTRUCTIONS_MAX:
        return  # the kernel says so, when it is loaded
    for arch in _ARCHES:
        for number in (0, 1, 41, 56, 359, 0x40000000, 0xFFFFFFFF):
            run(program, number, arch, (5, 1 << 40))
