"""Signal names as images and CRI write them: SIGTERM, TERM, 15, SIGRTMIN+3, RTMAX-1."""

import re
import signal

from rundlet.errors import InvalidArgument

_REALTIME = re.compile(r"RT(?P<base>MIN|MAX)(?:(?P<sign>[+-])(?P<offset>\d{1,2}))?")
# signal(7): glibc keeps two real-time signals for itself, so SIGRTMIN is 34 for every C program.
_RTMIN, _RTMAX = 34, 64


def parse_signal(text: str, path: str = "signal") -> int:
    """The signal's number.

    Raises InvalidArgument "<path>: there is no signal …".
    """
    name = text.strip().upper().removeprefix("SIG")
    if name.isdecimal():
        number = int(name)
    elif found := _REALTIME.fullmatch(name):
        number = _realtime_number(found)
    else:
        number = getattr(signal.Signals, f"SIG{name}", 0) if name.isalnum() else 0
    if not 1 <= number <= _RTMAX:
        raise InvalidArgument(f"{path}: there is no signal {text!r}", hint="write it as SIGTERM, TERM or 15")
    return number


def _realtime_number(found: re.Match[str]) -> int:
    base = _RTMIN if found["base"] == "MIN" else _RTMAX
    offset = int(found["offset"] or 0)
    number = base + (offset if found["sign"] == "+" else -offset)
    return number if _RTMIN <= number <= _RTMAX else 0


def format_signal(number: int) -> str:
    """`15` as "SIGTERM", `37` as "SIGRTMIN+3" (the names of CRI's Signal enum)."""
    if number in (_RTMIN, _RTMAX):
        return "SIGRTMIN" if number == _RTMIN else "SIGRTMAX"
    if _RTMIN < number < _RTMAX:
        middle = (_RTMIN + _RTMAX) // 2
        return f"SIGRTMIN+{number - _RTMIN}" if number <= middle else f"SIGRTMAX-{_RTMAX - number}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
