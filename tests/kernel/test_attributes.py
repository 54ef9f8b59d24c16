"""Calls on the calling process, each made in a program of its own and read back from /proc."""

import subprocess
import sys

import pytest

from rundlet.kernel import ioprio, mempolicy, sched


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_scheduler_and_nice() -> None:
    code = """
from rundlet.kernel import sched
sched.set_scheduler(sched.POLICIES["SCHED_BATCH"], 0, 5, 0, 0, 0, 0)
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
print(fields[16], fields[38])
"""
    assert run(code) == "5 3"


@pytest.mark.parametrize("values", [(99, 0, 0, 0, 0, 0, 0), (0, 0, 0, 50, 0, 0, 0)])
def test_a_scheduler_that_makes_no_sense(values: tuple[int, ...]) -> None:
    with pytest.raises(OSError, match="sched_setattr"):
        sched.set_scheduler(*values)


def test_io_priority() -> None:
    code = """
import ctypes, os
from rundlet.kernel import ioprio
ioprio.set_io_priority(ioprio.CLASSES["IOPRIO_CLASS_BE"], 6)
number = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
print(ctypes.CDLL(None).syscall(number, 1, 0))
"""
    assert run(code) == str(2 << 13 | 6)


def test_an_io_class_that_is_none() -> None:
    with pytest.raises(OSError, match="ioprio_set"):
        ioprio.set_io_priority(7, 0)


@pytest.mark.parametrize(
    ("mode", "nodes", "shown"),
    [("MPOL_PREFERRED", "0", "prefer:0"), ("MPOL_BIND", "0", "bind:0"), ("MPOL_DEFAULT", "", "default")],
)
def test_memory_policy(mode: str, nodes: str, shown: str) -> None:
    code = f"""
from rundlet.kernel import mempolicy
mempolicy.set_memory_policy(mempolicy.MODES[{mode!r}], [{nodes}])
print(open("/proc/self/numa_maps").readline().split()[1])
"""
    assert run(code) == shown


def test_a_node_that_is_not_there() -> None:
    with pytest.raises(OSError, match="set_mempolicy"):
        mempolicy.set_memory_policy(mempolicy.MODES["MPOL_BIND"], [900])


def test_personality() -> None:
    code = """
import os
from rundlet.kernel import personality
personality.set_personality(personality.DOMAINS["LINUX32"])
print(os.uname().machine)
"""
    assert run(code) in {"i686", "armv8l"}
