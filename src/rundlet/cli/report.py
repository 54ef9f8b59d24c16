"""An error as people see it: one line that says what, one that says what to do."""

import os
import sys

from rundlet.errors import Error


def report(error: Error) -> None:
    print(f"rundlet: {error.message}", file=sys.stderr)
    hint = error.hint
    if not hint and isinstance(error.__cause__, PermissionError) and os.geteuid() != 0:
        hint = "run it as root"
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
