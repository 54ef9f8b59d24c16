"""A program of ours at a terminal, with short names of nobody else: root's are the machine's."""

import os
import pty
import subprocess
import sys


def rundlet_command(aliases, *words):
    """The command line `words`, whose choices of short names are written to `aliases`."""
    script = (
        "import rundlet.registry.places as places\n"
        f"places._find_alias_cache = lambda uid, home: {str(aliases)!r}\n"
        "from rundlet.cli.main import main\n"
        "main()"
    )
    return [sys.executable, "-c", script, *words]


def run_at_terminal(command, environment, answer=b""):
    """(exit code, what the terminal showed) when `answer` is typed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        os.write(ours, answer)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the terminal is closed
                break
            shown += block
    os.close(ours)
    return process.returncode, shown.decode()
