"""Reading a group's files, for figures of all kinds."""

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.errors import NotFound

# Version 1 says "no limit" as the largest multiple of the page size.
_UNLIMITED = 1 << 62


class GroupFiles:
    """The group's files; one that is not there reads as nothing."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def text(self, controller: str, file: str) -> str:
        try:
            return read_text(f"{self._group.directory(controller)}/{file}")
        except (OSError, NotFound):
            return ""

    def number(self, controller: str, file: str) -> int:
        """0 for "max", -1 and what version 1 says for no limit."""
        text = self.text(controller, file).strip()
        value = int(text) if text.isdigit() else 0
        return value if value < _UNLIMITED else 0

    def pairs(self, controller: str, file: str) -> dict[str, int]:
        lines = (line.split() for line in self.text(controller, file).splitlines())
        return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
