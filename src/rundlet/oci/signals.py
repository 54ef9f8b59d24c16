"""Signal names and numbers as kill(1) takes them."""

import signal

from rundlet.errors import InvalidArgument


def parse_signal(text: str) -> int:
    """TERM, SIGTERM, sigterm, 15, RTMIN+3; InvalidArgument for anything else."""
    if text.isdigit():
        number = int(text)
        if 0 <= number <= signal.SIGRTMAX:
            return number
        raise InvalidArgument(f"unknown signal {text!r}")
    name = text.upper().removeprefix("SIG")
    base, sign, offset = name.replace("-", "+-").partition("+")
    found = signal.Signals.__members__.get(f"SIG{base}")
    if found is None or (sign and not offset.removeprefix("-").isdigit()):
        raise InvalidArgument(f"unknown signal {text!r}")
    return found + int(offset) if sign else int(found)
