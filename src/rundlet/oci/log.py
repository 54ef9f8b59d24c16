"""Log lines as engines read them from an OCI runtime (`--log`, `--log-format`).

text    time="2026-01-02T03:04:05Z" level=error msg="what went wrong"
json    {"level":"error","msg":"what went wrong","time":"2026-01-02T03:04:05Z"}
"""

import os
import time
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.oci import json

_LEVELS = ("debug", "info", "warning", "error")


class Log(NamedTuple):
    """`path` is empty for stderr."""

    path: str = ""
    format: str = "text"
    level: str = "warning"

    def debug(self, message: str) -> None:
        self.write("debug", message)

    def warning(self, message: str) -> None:
        self.write("warning", message)

    def write(self, level: str, message: str) -> None:
        """One line; what cannot be written to the file goes to stderr."""
        if _LEVELS.index(level) < _LEVELS.index(self.level):
            return
        line = format_line(self.format, level, message, time.time()).encode()
        try:
            fd = (
                os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
                if self.path
                else 2
            )
        except OSError:
            fd = 2
        os.write(fd, line)
        if fd != 2:
            os.close(fd)


def make_log(path: str, form: str, level: str) -> Log:
    """Raises InvalidArgument for a format or level that there is not."""
    level = {"warn": "warning"}.get(level, level)
    if form not in ("text", "json"):
        raise InvalidArgument(f"unknown log format {form!r}", hint="text or json")
    if level not in _LEVELS:
        raise InvalidArgument(f"unknown log level {level!r}", hint=", ".join(_LEVELS))
    path = path.removeprefix("file:")
    return Log("" if path == "/dev/stderr" else path, form, level)


def format_line(form: str, level: str, message: str, now_s: float) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    if form == "json":
        return json.write({"level": level, "msg": message, "time": stamp}) + "\n"
    return f'time="{stamp}" level={level} msg={json.write(message)}\n'
