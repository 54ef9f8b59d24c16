import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_child_in_new_namespaces() -> None:
    code = """
import os
from rundlet.kernel import namespace
from rundlet.kernel.clone import clone
gate, key = os.pipe()
child = clone(namespace.CLONE_NEWUTS | namespace.CLONE_NEWPID)
if child.pid == 0:
    os.read(gate, 1)
    os._exit(7 if os.getpid() == 1 else 1)
print(namespace.pid_of(child.pidfd) == child.pid, namespace.is_same(child.pid, "net"), namespace.is_same(child.pid, "uts"))
os.write(key, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
try:
    namespace.pid_of(child.pidfd)
except ProcessLookupError:
    print("gone")
"""
    assert run(code).split() == ["True", "True", "False", "7", "gone"]


def test_a_sibling_is_the_parents_child() -> None:
    code = """
import os
from rundlet.kernel.clone import clone
read, write = os.pipe()
gate, key = os.pipe()
helper = clone()
if helper.pid == 0:
    child = clone(sibling=True)
    if child.pid == 0:
        os.read(gate, 1)
        os._exit(9)
    os.write(write, str(child.pid).encode())
    os._exit(0)
os.waitpid(helper.pid, 0)
pid = int(os.read(read, 16))
os.write(key, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(code) == "9"
