"""Block devices and their limits, and rules on devices: `--blkio-*`, `--device-*-bps`, `--device-cgroup-rule`.

--device-read-bps     PATH:RATE      a rate is a size, as 1mb
--device-read-iops    PATH:COUNT
--blkio-weight-device PATH:WEIGHT    10 to 1000
--device-cgroup-rule  "TYPE MAJOR:MINOR PERMISSIONS"     a c 10:200 rwm; * is any number
"""

import os
import re
import stat
from typing import Literal, cast

from rundlet.engine.options import DeviceAccess, DeviceLimit
from rundlet.errors import InvalidArgument, NotFound
from rundlet.local.words.numbers import parse_size, parse_whole

_RULE = re.compile(r"([abc]) +(\d{1,10}|\*):(\d{1,10}|\*) +([rwm]{1,3})")
_WEIGHTS = range(10, 1001)


def parse_weight(text: str) -> int:
    """0 is "not asked for"."""
    weight = parse_whole(text, "weight")
    if weight and weight not in _WEIGHTS:
        raise InvalidArgument(f"a weight is {_WEIGHTS[0]} to {_WEIGHTS[-1]}")
    return weight


def parse_device_weight(text: str) -> DeviceLimit:
    path, value = _split(text, "WEIGHT")
    return _find_device(path, parse_weight(value))


def parse_byte_rate(text: str) -> DeviceLimit:
    path, value = _split(text, "RATE")
    return _find_device(path, parse_size(value))


def parse_operation_rate(text: str) -> DeviceLimit:
    path, value = _split(text, "COUNT")
    return _find_device(path, parse_whole(value, "operations a second"))


def _split(text: str, what: str) -> tuple[str, str]:
    path, colon, value = text.rpartition(":")
    if not colon or not path.startswith("/"):
        raise InvalidArgument(f"expected PATH:{what}", hint="as /dev/sda:…")
    return path, value


def _find_device(path: str, value: int) -> DeviceLimit:
    try:
        found = os.stat(path)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidArgument(f"{path} is no block device")
    return DeviceLimit(os.major(found.st_rdev), os.minor(found.st_rdev), value)


def parse_device_rule(text: str) -> DeviceAccess:
    found = _RULE.fullmatch(text.strip())
    if not found:
        raise InvalidArgument("expected 'TYPE MAJOR:MINOR PERMISSIONS'", hint="as 'c 10:200 rwm'")
    kind = cast("Literal['a', 'b', 'c']", found[1])
    return DeviceAccess(kind, _parse_number(found[2]), _parse_number(found[3]), found[4])


def _parse_number(text: str) -> int | None:
    return None if text == "*" else int(text)
