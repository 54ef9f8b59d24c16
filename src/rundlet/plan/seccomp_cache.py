"""Compiled seccomp programs kept on disk.

    <cache_dir>/<key>.bpf       sha256 of the rest (32 bytes), flags (u32, native), struct sock_filter[]

The key is the sha256 of the profile's JSON, the machine, the kernel release and
the compiler's version: whatever could change the program changes the name.
"""

import hashlib
import os
import struct
import tempfile

from rundlet.plan.seccomp import COMPILER_VERSION, SeccompProgram, compile_seccomp
from rundlet.spec.json import encode
from rundlet.spec.runtime import Seccomp

_FLAGS = struct.Struct("=I")
_DIGEST_BYTES = 32


def load_program(profile: Seccomp, cache_dir: str) -> SeccompProgram:
    """The profile's program, from the cache when it is there, else compiled and kept.

    A damaged entry is compiled anew, and a cache that cannot be written only
    costs time.  Errors are those of `compile_seccomp`.
    """
    path = os.path.join(cache_dir, f"{_key(profile)}.bpf")
    program = _read(path)
    if program is None:
        program = compile_seccomp(profile)
        _keep(path, program)
    return program


def _key(profile: Seccomp) -> str:
    host = os.uname()
    parts = (encode(profile), host.machine.encode(), host.release.encode(), str(COMPILER_VERSION).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _read(path: str) -> SeccompProgram | None:
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError:
        return None
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if len(body) <= _FLAGS.size or hashlib.sha256(body).digest() != digest:
        return None
    return SeccompProgram(filter=body[_FLAGS.size :], flags=_FLAGS.unpack_from(body)[0])


def _keep(path: str, program: SeccompProgram) -> None:
    body = _FLAGS.pack(program.flags) + program.filter
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=directory)
        with open(fd, "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.rename(temporary, path)
    except OSError:
        return
