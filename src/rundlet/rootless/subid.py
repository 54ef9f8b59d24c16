"""/etc/subuid and /etc/subgid: the ids that an ordinary user may map besides the own one (subuid(5)).

anna:100000:65536     name or number of the user : first id : how many
"""

from collections.abc import Iterator
from typing import NamedTuple

SUBUID_FILE = "/etc/subuid"
SUBGID_FILE = "/etc/subgid"


class Range(NamedTuple):
    """`length` ids from `first` on."""

    first: int
    length: int


def parse_ranges(text: str, name: str, uid: int) -> tuple[Range, ...]:
    """The user's ranges in the order of the file; lines that are no such are passed over, as newuidmap(1) does."""
    return tuple(_read_lines(text, {name, str(uid)} - {""}))


def _read_lines(text: str, owners: set[str]) -> Iterator[Range]:
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] not in owners:
            continue
        first, count = fields[1:]
        if first.isdecimal() and count.isdecimal() and int(count):
            yield Range(int(first), int(count))


def read_ranges(path: str, name: str, uid: int) -> tuple[Range, ...]:
    """None of them where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse_ranges(file.read(), name, uid)
    except OSError:
        return ()


def find_name(uid: int) -> str:
    """The user's name; empty for one that the system does not know."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
