import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from rundlet.plan.syscalls import SIDE_DOORS, syscall_numbers

TOOL = Path(__file__).parents[2] / "tools" / "make_syscall_tables.py"
HAVE_HEADERS = shutil.which("cpp") and Path("/usr/include/x86_64-linux-gnu/asm/unistd_x32.h").exists()


@pytest.mark.parametrize(
    ("abi", "name", "number"),
    [
        ("x86_64", "read", 0),
        ("x86_64", "execveat", 322),
        ("x86_64", "uretprobe", 335),
        ("i386", "socketcall", 102),
        ("i386", "futex_time64", 422),
        ("x32", "ioctl", 514),
        ("aarch64", "openat", 56),
        ("aarch64", "fstat", 80),
        ("aarch64", "newfstatat", 79),
        ("arm", "openat", 322),
        ("arm", "set_tls", 983045),
        *((abi, "mseal", 462) for abi in ("x86_64", "i386", "x32", "aarch64", "arm")),
    ],
)
def test_numbers(abi, name, number):
    assert syscall_numbers(abi)[name] == number


@pytest.mark.parametrize("abi", ["x86_64", "i386", "x32", "aarch64", "arm"])
def test_no_two_names_share_a_number(abi):
    numbers = list(syscall_numbers(abi).values())
    assert len(numbers) == len(set(numbers)) > 300


def test_doors_have_the_codes_of_the_headers():
    doors = SIDE_DOORS["i386"]
    assert doors["socket"][:2] == ("socketcall", 1)
    assert doors["sendmmsg"][:2] == ("socketcall", 20)
    assert doors["semtimedop"][:2] == ("ipc", 4)
    assert doors["msgctl"][:2] == ("ipc", 14)
    assert doors["shmctl"][:2] == ("ipc", 24)


@pytest.mark.skipif(
    not HAVE_HEADERS or os.uname().machine != "x86_64", reason="cpp and x86 kernel headers not on this host"
)
@pytest.mark.parametrize("abi", ["x86_64", "i386", "x32", "aarch64"])
def test_the_tables_are_what_the_headers_say(abi):
    spec = importlib.util.spec_from_file_location("make_syscall_tables", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert {name: number for number, name in tool.make_table(abi).items()} == syscall_numbers(abi)
