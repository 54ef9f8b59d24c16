"""The smallest program that can be process 1 of a PID namespace.

It has orphans reaped by the kernel (sigaction(2): SIGCHLD ignored), and waits.  It is built here, byte
by byte, as an ELF file without a libc: 64 bytes of header, 56 of program header, the code below, and
the struct sigaction of 32 bytes whose handler is 1, SIG_IGN.  A pod's init thus costs one page of
memory instead of an interpreter.

    x86-64                                        aarch64
    b8 0d 00 00 00        mov eax, 13             mov x0, #17
    bf 11 00 00 00        mov edi, 17             adr x1, action
    48 8d 35 13 00 00 00  lea rsi, [rip + 19]     mov x2, #0
    31 d2                 xor edx, edx            mov x3, #8
    41 ba 08 00 00 00     mov r10d, 8             mov x8, #134
    0f 05                 syscall                 svc #0       rt_sigaction(SIGCHLD, action, NULL, 8)
    b8 22 00 00 00        mov eax, 34             mov x0..x3, #0; mov x8, #73
    0f 05                 syscall                 svc #0       pause(2); ppoll(2) on nothing
    eb f7                 jmp -9                  b -24
"""

import os
import struct

_LOAD_ADDRESS = 0x400000
_HEADER_BYTES = 64 + 56
_MACHINES = {"x86_64": 62, "aarch64": 183}
_ACTION = struct.pack("<4Q", 1, 0, 0, 0)
_CODE = {
    "x86_64": bytes.fromhex(
        "b80d000000 bf11000000 488d3513000000 31d2 41ba08000000 0f05 b822000000 0f05 ebf7"
    ),
    "aarch64": struct.pack(
        "<13I",
        *(0xD2800220, 0x10000181, 0xD2800002, 0xD2800103, 0xD28010C8, 0xD4000001),
        *(0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA),
    ),
}


def build_program(architecture: str) -> bytes:
    """The ELF file (elf(5)); KeyError on an architecture without code."""
    code = _CODE[architecture] + _ACTION
    size = _HEADER_BYTES + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH",
        2,
        _MACHINES[architecture],
        1,
        _LOAD_ADDRESS + _HEADER_BYTES,
        64,
        0,
        0,
        64,
        56,
        1,
        0,
        0,
        0,
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + code


def open_program(architecture: str) -> int:
    """The program in a sealed memfd, ready for execve(2) by descriptor."""
    fd = os.memfd_create("rundlet-pause", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, build_program(architecture))
    _seal(fd)
    return fd


def _seal(fd: int) -> None:
    """No write, no resize, no unsealing (fcntl(2), F_ADD_SEALS)."""
    import fcntl

    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )
