import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import pytest

from rundlet.plan.bpf import decode_program

RunProgram = Callable[..., int]
decode = lru_cache(maxsize=8)(decode_program)


def run(program: bytes, number: int, arch: int = 0xC000003E, args: Sequence[int] = ()) -> int:
    """What the kernel's interpreter returns: an independent reading of filter.h, not the compiler's."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    block = decode(program)
    accumulator = at = 0
    while True:
        code, k, jt, jf = block[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x15:
                at += jt if accumulator == k else jf
            case 0x25:
                at += jt if accumulator > k else jf
            case 0x35:
                at += jt if accumulator >= k else jf
            case 0x06:
                return k
            case _:
                raise AssertionError(f"instruction {code:#x} at {at - 1}")


@pytest.fixture(scope="session")
def run_program() -> RunProgram:
    return run
