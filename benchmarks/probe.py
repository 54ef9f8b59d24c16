"""The program that the benchmarks start: the smallest there is, so that only the runtime is measured.

It opens /bench/started (a FIFO) for writing, writes a byte and exits.  Its first
byte in the FIFO is "the first instruction" of a container.  No C compiler is
needed: it is an ELF file of one segment, written here byte by byte (elf(5)).
"""

import os
import platform
import struct

FIFO_PATH = b"/bench/started\0"
_BASE = 0x400000
_HEADERS_BYTES = 64 + 56  # ELF header and one program header

# System V AMD64 ABI; syscall numbers open=2, write=1, exit=60.
_X86_64 = b"".join((
    b"\xb8\x02\x00\x00\x00",            # mov eax, 2
    b"\x48\x8d\x3d\x25\x00\x00\x00",    # lea rdi, [rip + path]
    b"\xbe\x01\x00\x00\x00",            # mov esi, O_WRONLY
    b"\x0f\x05",                        # syscall
    b"\x89\xc7",                        # mov edi, eax
    b"\xb8\x01\x00\x00\x00",            # mov eax, 1
    b"\x48\x8d\x35\x10\x00\x00\x00",    # lea rsi, [rip + path]
    b"\xba\x01\x00\x00\x00",            # mov edx, 1
    b"\x0f\x05",                        # syscall
    b"\xb8\x3c\x00\x00\x00",            # mov eax, 60
    b"\x31\xff",                        # xor edi, edi
    b"\x0f\x05",                        # syscall
))  # fmt: skip


def build_probe() -> bytes:
    """The executable; OSError on a machine that this has no code for."""
    if platform.machine() != "x86_64":
        raise OSError(f"no probe program for {platform.machine()}")
    size = _HEADERS_BYTES + len(_X86_64) + len(FIFO_PATH)
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, _BASE + _HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + _X86_64 + FIFO_PATH


def write_probe(path: str) -> None:
    with open(path, "wb") as file:
        file.write(build_probe())
    os.chmod(path, 0o755)
