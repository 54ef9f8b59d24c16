"""Ids of pods and containers: 64 hexadecimal digits, looked up by any unique prefix."""

import os
import re
from collections.abc import Sequence

from rundlet.errors import InvalidArgument, NotFound
from rundlet.kernel.sync import read_boot_id

_PREFIX = re.compile(r"[0-9a-f]{1,64}")
_ID_BYTES = 32


def new_id() -> str:
    """A fresh random id: 64 lower-case hexadecimal digits."""
    return os.urandom(_ID_BYTES).hex()


def is_id_prefix(text: str) -> bool:
    return _PREFIX.fullmatch(text) is not None


def pick_id(prefix: str, found: Sequence[str], kind: str) -> str:
    """The one id of `found` that `prefix` means; `kind` ("pod", "container") names it in errors.

    Raises NotFound when nothing matches, InvalidArgument when several do.
    """
    if prefix in found:
        return prefix
    if not found:
        raise no_such(kind, prefix)
    if len(found) > 1:
        raise InvalidArgument(
            f"{kind} id {prefix!r} is ambiguous: {len(found)} ids begin with it",
            hint="give more digits of the id",
        )
    return found[0]


def no_such(kind: str, text: str) -> NotFound:
    """There is no pod, or container, of that id."""
    command = "rundlet pods" if kind == "pod" else "rundlet ps -a"
    return NotFound(f"no such {kind}: {text!r}", hint=f"`{command}` lists what there is")


def process_identity(pid: int) -> str:
    """`boot id/pid/start time`: names one process for ever; "" when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    # proc(5): starttime is field 22, the 20th after the command's closing parenthesis.
    return f"{read_boot_id()}/{pid}/{fields[19]}"


def is_alive(identity: str) -> bool:
    """Whether the process that `process_identity` named still runs."""
    parts = identity.split("/")
    if len(parts) != 3 or not parts[1].isdigit():
        return False
    return process_identity(int(parts[1])) == identity
