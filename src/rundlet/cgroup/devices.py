"""The device program of a version 2 group.

There is no file for device access: a BPF program is attached to the group, and an
open or mknod needs the consent of every program from the group up to the root.
A new one comes before the old ones go, so at no moment is a device allowed that
neither of them allows.
"""

import os

from rundlet.kernel import bpf


def set_device_program(directory: str, program: bytes) -> None:
    """Attach `program` (struct bpf_insn[]) to the group at `directory` in the place of those there.

    Raises OSError.
    """
    with _Descriptor(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as cgroup_fd:
        old = bpf.list_programs(cgroup_fd)
        with _Descriptor(bpf.load_program(program)) as program_fd:
            bpf.attach_program(cgroup_fd, program_fd)
        for program_id in old:
            _detach(cgroup_fd, program_id)


def _detach(cgroup_fd: int, program_id: int) -> None:
    try:
        with _Descriptor(bpf.open_program(program_id)) as program_fd:
            bpf.detach_program(cgroup_fd, program_fd)
    except FileNotFoundError:
        return  # somebody else took it off


class _Descriptor:
    """Closes a file descriptor at the end of a block."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
