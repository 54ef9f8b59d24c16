"""The systemd unit of rundletd, as a distribution ships it and as it is where pip has put the program."""

import os
import sys
from importlib.resources import files

_PACKAGED = "ExecStart=/usr/bin/rundletd\n"


def format_unit() -> str:
    """The unit that starts this very installation."""
    text = files("rundlet.cri").joinpath("rundletd.service").read_text(encoding="ascii")
    return text.replace(_PACKAGED, f"ExecStart={_own_command()}\n")


def _own_command() -> str:
    """The program beside the interpreter; without one (a source tree) the interpreter runs the module."""
    program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "rundletd")
    words = [program] if os.access(program, os.X_OK) else [sys.executable, "-m", "rundlet.cri.daemon"]
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    """As systemd.service(5) reads a command line: % and $ are doubled, blanks are quoted."""
    word = word.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\")
    return f'"{word}"' if " " in word else word
