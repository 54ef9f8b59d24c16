"""Compiled seccomp programs kept on disk.

    <cache_dir>/<key>.bpf       sha256 of the rest (32 bytes), flags (u32, native), struct sock_filter[]

The key is the sha256 of the profile, the machine, the kernel release and the
compiler's version: whatever could change the program changes the name.  A
program found here costs neither the compiler's import nor OpenSSL's (5 ms).
"""

import os
import struct

from rundlet.plan.seccomp_program import COMPILER_VERSION, SeccompProgram
from rundlet.spec.runtime import Seccomp

try:
    from _sha256 import sha256  # type: ignore[import-not-found] # the interpreter's own, up to 3.11
except ImportError:
    from hashlib import sha256

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
        from rundlet.plan.seccomp import compile_seccomp

        program = compile_seccomp(profile)
        _keep(path, program)
    return program


def _key(profile: Seccomp) -> str:
    host = os.uname()
    parts = (
        repr(profile).encode(),
        host.machine.encode(),
        host.release.encode(),
        str(COMPILER_VERSION).encode(),
    )
    key: str = sha256(b"\0".join(parts)).hexdigest()
    return key


def _read(path: str) -> SeccompProgram | None:
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError:
        return None
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if len(body) <= _FLAGS.size or sha256(body).digest() != digest:
        return None
    return SeccompProgram(filter=body[_FLAGS.size :], flags=_FLAGS.unpack_from(body)[0])


def _keep(path: str, program: SeccompProgram) -> None:
    body = _FLAGS.pack(program.flags) + program.filter
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "xb", opener=_private) as file:
            file.write(sha256(body).digest() + body)
        os.rename(temporary, path)
    except OSError:
        return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
