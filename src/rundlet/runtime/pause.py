"""The smallest program that can be process 1 of a pod's shared PID namespace.

It only waits: SIGCHLD is ignored when it is started, and an ignored disposition
outlives execve(2), so the kernel reaps every orphan by itself (sigaction(2),
SA_NOCLDWAIT).  It is built here, byte by byte, as an ELF file without a libc:
64 bytes of header, 56 of program header, and the code below.  A pod's init
thus costs one page of memory instead of an interpreter.

    x86-64                          aarch64
    b8 22 00 00 00  mov eax, 34     mov x0..x3, #0
    0f 05           syscall         mov x8, #73      ppoll(2) on nothing
    eb f7           jmp  start      svc #0
                                    b   start
"""

import os
import struct

_LOAD_ADDRESS = 0x400000
_HEADER_BYTES = 64 + 56
_MACHINES = {"x86_64": 62, "aarch64": 183}
_CODE = {
    "x86_64": bytes.fromhex("b822000000 0f05 ebf7"),
    "aarch64": struct.pack(
        "<7I", 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA
    ),
}


def build_program(architecture: str) -> bytes:
    """The ELF file (elf(5)); KeyError on an architecture without code."""
    code = _CODE[architecture]
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
