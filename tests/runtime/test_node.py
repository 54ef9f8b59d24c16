"""The throw-away node's own failures."""

import subprocess
import sys


def test_a_sigterm_after_the_command_has_ended_is_no_failure() -> None:
    """It was: "node: No such process", and exit code 125, when a test runner ended its workers."""
    script = """
import os, signal
from rundlet.runtime import node
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
node._pass_on_term(child)
os.kill(os.getpid(), signal.SIGTERM)
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("went on\n", "")
