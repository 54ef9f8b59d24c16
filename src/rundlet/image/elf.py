"""As much of ELF as it takes to know what a program needs to run (elf(5), ld.so(8))."""

import re
import struct
import subprocess
from typing import BinaryIO, Final

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.kernel.failure import translating

_PT_INTERP: Final = 3
# ident 16 | type 2, machine 2, version 4, entry 8, phoff 8, shoff 8, flags 4, ehsize 2, phentsize 2, phnum 2
_HEADER: Final = struct.Struct("<16s2HI3QI3H")
# type 4, flags 4, offset 8, vaddr 8, paddr 8, filesz 8
_PROGRAM_HEADER: Final = struct.Struct("<2I5Q")
_ELF64_LITTLE: Final = b"\x7fELF\x02\x01"
_LISTED: Final = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_LOADER_TIMEOUT_S: Final = 10


def find_interpreter(path: str) -> str:
    """The dynamic loader that the program `path` names, "" when it is static.

    Raises NotFound, and InvalidArgument when it is not a 64-bit little-endian program.
    """
    with translating(f"program {path}"), open(path, "rb") as file:
        if file.read(len(_ELF64_LITTLE)) != _ELF64_LITTLE:
            raise InvalidArgument(f"{path} is not a 64-bit little-endian ELF program")
        try:
            return _read_interpreter(file)
        except (struct.error, ValueError) as error:
            raise InvalidArgument(f"{path} is a damaged ELF program: {error}") from error


def _read_interpreter(file: BinaryIO) -> str:
    file.seek(0)
    fields = _HEADER.unpack(file.read(_HEADER.size))
    offset, entry_size, count = fields[5], fields[9], fields[10]
    for index in range(count):
        file.seek(offset + index * entry_size)
        kind, _, start, _, _, size = _PROGRAM_HEADER.unpack(file.read(_PROGRAM_HEADER.size))[:6]
        if kind == _PT_INTERP:
            file.seek(start)
            return file.read(size).rstrip(b"\0").decode()
    return ""


def find_libraries(path: str) -> tuple[str, ...]:
    """The loader and every shared library that the program `path` loads at its start.

    The loader itself is asked (`ld.so --list`), which runs no code of the program.
    """
    interpreter = find_interpreter(path)
    if not interpreter:
        return ()
    done = subprocess.run(
        [interpreter, "--list", path], capture_output=True, text=True, timeout=_LOADER_TIMEOUT_S, check=False
    )
    if done.returncode or "not found" in done.stdout:
        raise FailedPrecondition(f"{path}: a shared library is missing: {done.stdout.strip()[-200:]}")
    return tuple(dict.fromkeys((interpreter, *_LISTED.findall(done.stdout))))
