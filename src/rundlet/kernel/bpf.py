"""bpf(2): load a program and attach it to a cgroup (Linux 4.15 for devices).

Constants are spelled as in <linux/bpf.h>; the union's members used here:

    BPF_PROG_LOAD             u32 type, insn_cnt; u64 insns, license; u32 log_level, log_size; u64 log_buf
    BPF_PROG_ATTACH, DETACH   u32 target_fd, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd
    BPF_PROG_QUERY            u32 target_fd, attach_type, query_flags, attach_flags; u64 prog_ids; u32 prog_cnt
    BPF_PROG_GET_FD_BY_ID     u32 prog_id
"""

import ctypes
import errno
import os
import struct

from rundlet.kernel.libc import syscall

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2  # Linux 5.6

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_INSN_BYTES = 8
_LOG_BYTES = 1 << 16
_ATTRIBUTE_BYTES = 64
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS

_LOAD = struct.Struct("=IIQQIIQ")
_ATTACH = struct.Struct("=IIIII")
_QUERY = struct.Struct("=IIIIQI")


def _bpf(command: int, what: str, attributes: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBERS[os.uname().machine]
    return syscall(number, what, ctypes.c_int(command), attributes, ctypes.c_uint(len(attributes)))


def _attributes(packed: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(packed, _ATTRIBUTE_BYTES)


def load_program(program: bytes, kind: int = BPF_PROG_TYPE_CGROUP_DEVICE) -> int:
    """A close-on-exec descriptor of `program` (struct bpf_insn[]).

    Raises OSError; when the verifier refuses it, with the verifier's last words.
    """
    try:
        return _load(program, kind, None)
    except OSError as error:
        if error.errno == errno.EPERM and _raise_memlock():
            return _load(program, kind, None)
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return _load(program, kind, log)
    except OSError as error:
        said = [line for line in log.value.decode(errors="replace").splitlines() if line.strip()]
        verdict = "; ".join(said[-4:]) or "the verifier says nothing"
        raise OSError(error.errno, f"{error.strerror}: {verdict}") from error


def _load(program: bytes, kind: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    log_at = ctypes.addressof(log) if log is not None else 0
    packed = _LOAD.pack(
        kind,
        len(program) // _INSN_BYTES,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        int(log is not None),
        len(log) if log is not None else 0,
        log_at,
    )
    return _bpf(BPF_PROG_LOAD, "bpf(BPF_PROG_LOAD)", _attributes(packed))


def _raise_memlock() -> bool:
    """Before Linux 5.11 programs count as locked memory; whether there was a limit to lift."""
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return False
    return True


def attach_program(
    cgroup_fd: int, program_fd: int, *, replace_fd: int = -1, kind: int = BPF_CGROUP_DEVICE
) -> None:
    """Attach beside the programs that are there, or in the place of the one open on `replace_fd`."""
    flags = BPF_F_ALLOW_MULTI | (BPF_F_REPLACE if replace_fd >= 0 else 0)
    packed = _ATTACH.pack(cgroup_fd, program_fd, kind, flags, max(replace_fd, 0))
    _bpf(BPF_PROG_ATTACH, "bpf(BPF_PROG_ATTACH)", _attributes(packed))


def detach_program(cgroup_fd: int, program_fd: int, kind: int = BPF_CGROUP_DEVICE) -> None:
    """Take one attached program off."""
    packed = _ATTACH.pack(cgroup_fd, program_fd, kind, 0, 0)
    _bpf(BPF_PROG_DETACH, "bpf(BPF_PROG_DETACH)", _attributes(packed))


def list_programs(cgroup_fd: int, kind: int = BPF_CGROUP_DEVICE) -> list[int]:
    """The ids of the programs attached to this very cgroup, in the order of attachment."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attributes = _attributes(_QUERY.pack(cgroup_fd, kind, 0, 0, ctypes.addressof(ids), _MOST_PROGRAMS))
    _bpf(BPF_PROG_QUERY, "bpf(BPF_PROG_QUERY)", attributes)
    count = _QUERY.unpack_from(attributes.raw)[-1]
    return list(ids[:count])


def open_program(program_id: int) -> int:
    """A close-on-exec descriptor of a loaded program."""
    return _bpf(
        BPF_PROG_GET_FD_BY_ID, "bpf(BPF_PROG_GET_FD_BY_ID)", _attributes(struct.pack("=I", program_id))
    )
