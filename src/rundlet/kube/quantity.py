"""Kubernetes' quantities: "500m", "1.5", "128Mi", "1e3"."""

import math
import re
from fractions import Fraction

from rundlet.errors import InvalidArgument

_FORM = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)(?P<suffix>[eE][+-]?\d{1,2}|[numkKMGTPE]i?|)", re.ASCII)
_POWERS = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def parse_quantity(value: str | float, what: str) -> Fraction:
    """Exact.  Raises InvalidArgument."""
    found = _FORM.fullmatch(str(value).strip())
    suffix = found["suffix"] if found else ""
    if found is None or (suffix.endswith("i") and suffix[0] not in "KMGTPE"):
        raise InvalidArgument(f"{what}: {value!r} is not a quantity", hint="as 500m, 1.5 or 128Mi")
    number = Fraction(
        found["number"].rstrip(".") if not found["number"].startswith(".") else "0" + found["number"]
    )
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix[-1].isdigit():
        return number * Fraction(10) ** int(suffix[1:])
    base = 1024 if suffix.endswith("i") else 1000
    return number * Fraction(base) ** _POWERS[suffix[:1]]


def parse_bytes(value: str | float, what: str) -> int:
    return math.ceil(parse_quantity(value, what))
