"""Semantic versions and ranges of them, as `images-by-semver` of a sync file uses them.

    1.2.3   v1.2   1.2.3-rc.1+build           missing numbers are 0, build metadata does not count
    >=1.2, <2 || 3.x    ~1.2.3    ^1.2    1.2 - 1.5    !=1.4.2    *

A comma or a blank means and, "||" or.  A version with a pre-release fits only where the
range names a pre-release too (Masterminds/semver, which others use here).
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from rundlet.errors import InvalidArgument

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_PART = re.compile(
    r"\s*(=|!=|>=|=>|<=|=<|>|<|~>|~|\^)?\s*"
    r"v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\s*"
)
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_WILD: Final = frozenset("xX*")
_LENGTH_MAX: Final = 256


class Version(NamedTuple):
    """`pre` is the pre-release, its identifiers in an order that compares right; () is a release."""

    numbers: tuple[int, int, int]
    pre: tuple[tuple[int, int, str], ...] = ()

    def key(self) -> tuple[object, ...]:
        """A release comes after its pre-releases."""
        return self.numbers, not self.pre, self.pre


def parse_version(text: str) -> Version | None:
    """A tag as a version, None when it is none."""
    found = _VERSION.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if not found:
        return None
    major, minor, patch = (int(part or 0) for part in found.groups()[:3])
    return Version((major, minor, patch), _parse_pre(found[4]))


def _parse_pre(text: str | None) -> tuple[tuple[int, int, str], ...]:
    """Numbers come before words."""
    parts = text.split(".") if text else []
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


class _Rule(NamedTuple):
    """One comparison; `size` says how many numbers of `version` were written."""

    operator: str
    version: Version
    size: int

    def fits(self, version: Version) -> bool:
        if version.pre and not self.version.pre:
            return False
        return _OPERATORS[self.operator](self, version)

    def upper(self, place: int) -> tuple[int, int, int]:
        """The version where the number at `place` is one more and those after it are 0."""
        numbers = [*self.version.numbers[:place], self.version.numbers[place] + 1, 0, 0]
        return numbers[0], numbers[1], numbers[2]

    def within(self, version: Version, place: int) -> bool:
        return self.version.key() <= version.key() and version.numbers < self.upper(place)


def _equal(rule: _Rule, version: Version) -> bool:
    if rule.size == 0:
        return True
    return rule.version.key() == version.key() if rule.size == 3 else rule.within(version, rule.size - 1)


def _tilde(rule: _Rule, version: Version) -> bool:
    return rule.size == 0 or rule.within(version, min(rule.size, 2) - 1)


def _caret(rule: _Rule, version: Version) -> bool:
    """Up to the next change of the first number that is not 0."""
    if rule.size == 0:
        return True
    written = rule.version.numbers[: rule.size]
    place = next((place for place, number in enumerate(written) if number), rule.size - 1)
    return rule.within(version, place)


def _above(rule: _Rule, version: Version) -> bool:
    if rule.size < 3:
        return rule.size > 0 and version.numbers >= rule.upper(rule.size - 1)
    return version.key() > rule.version.key()


def _at_most(rule: _Rule, version: Version) -> bool:
    return not _above(rule, version)


_OPERATORS: dict[str, Callable[[_Rule, Version], bool]] = {
    "": _equal,
    "=": _equal,
    "!=": lambda rule, version: not _equal(rule, version),
    ">": _above,
    "<": lambda rule, version: version.key() < rule.version.key(),
    ">=": lambda rule, version: version.key() >= rule.version.key(),
    "<=": _at_most,
    "~": _tilde,
    "^": _caret,
}
_OTHER_SPELLINGS = {"=>": ">=", "=<": "<=", "~>": "~"}


class Range(NamedTuple):
    """Alternatives, each of rules that must all fit."""

    alternatives: tuple[tuple[_Rule, ...], ...]

    def fits(self, version: Version) -> bool:
        return any(all(rule.fits(version) for rule in rules) for rules in self.alternatives)


def parse_range(text: str) -> Range:
    """InvalidArgument when malformed."""
    if len(text) > _LENGTH_MAX:
        raise InvalidArgument(f"version range {text[:40]!r}…: longer than {_LENGTH_MAX} characters")
    return Range(tuple(_parse_rules(part, text) for part in text.split("||")))


def _parse_rules(part: str, text: str) -> tuple[_Rule, ...]:
    part = _HYPHEN.sub(r">=\1 <=\2", part).replace(",", " ").strip()
    rules: list[_Rule] = []
    at = 0
    while at < len(part):
        found = _PART.match(part, at)
        if not found:
            raise InvalidArgument(f"version range {text!r}: malformed at {part[at:]!r}")
        rules.append(_make_rule(found))
        at = found.end()
    if not rules:
        raise InvalidArgument(f"version range {text!r}: an alternative is empty")
    return tuple(rules)


def _make_rule(found: re.Match[str]) -> _Rule:
    operator = _OTHER_SPELLINGS.get(found[1] or "", found[1] or "")
    written: list[int] = []
    for part in found.groups()[1:4]:
        if part is None or part in _WILD:
            break
        written.append(int(part))
    major, minor, patch = (*written, 0, 0, 0)[:3]
    return _Rule(operator, Version((major, minor, patch), _parse_pre(found[5])), len(written))
