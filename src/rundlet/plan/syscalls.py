"""Syscall names to numbers, by ABI; and the two i386 calls that are doors to many others."""

from functools import cache
from typing import NamedTuple

from rundlet.plan.syscall_tables import TABLES


@cache
def syscall_numbers(abi: str) -> dict[str, int]:
    """{name: number} for "x86_64", "i386", "x32" (without its marker bit), "aarch64" or "arm"."""
    numbers: dict[str, int] = {}
    number = -1
    for word in TABLES[abi].split():
        if word.isdigit():
            number = int(word)
        else:
            numbers[word] = number
            number += 1
    return numbers


class SideDoor(NamedTuple):
    """A call that is also reached as `syscall(code, …)`, with its own arguments behind a pointer."""

    syscall: str
    code: int
    mask: int  # the bits of the first argument that the kernel reads as the code


def _doors(syscall: str, mask: int, names: str) -> dict[str, SideDoor]:
    """The names take the codes in turn; a number sets the count."""
    doors: dict[str, SideDoor] = {}
    code = 1
    for word in names.split():
        if word.isdigit():
            code = int(word)
        else:
            doors[word] = SideDoor(syscall, code, mask)
            code += 1
    return doors


# <linux/net.h> SYS_*, <linux/ipc.h>; ipc(2) keeps a version in the upper half.
SIDE_DOORS: dict[str, dict[str, SideDoor]] = {
    "i386": {
        **_doors(
            "socketcall",
            0xFFFF_FFFF,
            """1 socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom
            shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg""",
        ),
        **_doors(
            "ipc",
            0xFFFF,
            "1 semop semget semctl semtimedop 11 msgsnd msgrcv msgget msgctl 21 shmat shmdt shmget shmctl",
        ),
    }
}
