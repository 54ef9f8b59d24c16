"""Durations on the command line: 2s, 500ms, 1h30m, or plain seconds."""

import re

import click

from rundlet.errors import InvalidArgument

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Seconds in "1h30m", "2s" or "2"; InvalidArgument otherwise."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _WHOLE.fullmatch(text):
        raise InvalidArgument(f"not a duration: {text!r}", hint="write it as 30s, 5m or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        try:
            return parse_duration(str(value))
        except InvalidArgument as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
