"""What the programs of a figure say they are."""

import re
import subprocess

from benchmarks.bench import find_program
from benchmarks.figure import Figure

VERSION = re.compile(r"\d+\.\d+[\w.+~-]*")
_TIMEOUT_S = 10.0


def list_versions(figure: Figure) -> dict[str, str]:
    """Program -> version, of every command that a party needs and this host has."""
    needs = dict.fromkeys(need for party in figure.parties for need in party.needs)
    found = {name: ask_version(name) for name in needs if not name.startswith("/") and find_program(name)}
    return {name: version for name, version in found.items() if version}


def ask_version(name: str) -> str:
    """ "" of a program that does not tell."""
    try:
        done = subprocess.run(
            [find_program(name) or name, "--version"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = VERSION.search(done.stdout + done.stderr)
    return found.group() if found and not done.returncode else ""
