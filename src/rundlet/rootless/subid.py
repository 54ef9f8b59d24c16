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


def _read_lines(text: str, owners: set[str] | None) -> Iterator[Range]:
    """Those of the `owners`; None for everybody's."""
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) != 3 or (owners is not None and fields[0] not in owners):
            continue
        first, count = fields[1:]
        if first.isdecimal() and count.isdecimal() and int(count):
            yield Range(int(first), int(count))


def read_ranges(path: str, name: str, uid: int) -> tuple[Range, ...]:
    """None of them where there is no such file."""
    return parse_ranges(_read_text(path), name, uid)


def read_all_ranges(path: str) -> tuple[Range, ...]:
    """Everybody's; none where there is no such file."""
    return tuple(_read_lines(_read_text(path), None))


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def find_name(uid: int) -> str:
    """The user's name; empty for one that the system does not know."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
