"""Syscall names to numbers, by ABI."""

from functools import cache

from rundlet.plan.syscall_tables import TABLES


@cache
def syscall_numbers(abi: str) -> dict[str, int]:
    """{name: number} for "x86_64", "i386", "x32" (without its marker bit) or "aarch64"."""
    numbers: dict[str, int] = {}
    number = -1
    for word in TABLES[abi].split():
        if word.isdigit():
            number = int(word)
        else:
            numbers[word] = number
            number += 1
    return numbers
