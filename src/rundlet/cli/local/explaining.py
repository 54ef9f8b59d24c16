"""`--explain`: every step that a command would take, as text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rundlet.engine.explain import Section


def print_sections(sections: "Iterable[Section]") -> None:
    for section in sections:
        print(section.title)
        for line in section.lines:
            print(f"  {line}")
