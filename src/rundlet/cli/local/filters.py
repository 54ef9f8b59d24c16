"""`--filter KEY=VALUE` of podman's lists: values of one key are alternatives, keys are conditions."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rundlet.errors import InvalidArgument
from rundlet.local.words.network import list_names
from rundlet.local.words.numbers import parse_whole, split_pair, suggest

if TYPE_CHECKING:
    from rundlet.local.status import Container

Test = Callable[["Container", str], bool]
_STATES = ("created", "exited", "paused", "running", "unknown")


def make_filter(texts: Sequence[str]) -> Callable[["Container"], bool]:
    """Raises InvalidArgument for a key or value that cannot be."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, value = split_pair(text, "KEY=VALUE")
        if key not in _TESTS:
            raise InvalidArgument(f"--filter {text}: unknown key {key!r}", hint=suggest(key, _TESTS))
        _check(key, value)
        wanted.setdefault(key, []).append(value)
    return lambda found: all(
        any(_TESTS[key](found, value) for value in values) for key, values in wanted.items()
    )


def _check(key: str, value: str) -> None:
    if key == "status" and value not in _STATES:
        raise InvalidArgument(f"--filter status={value}: no such state", hint=suggest(value, _STATES))
    if key == "exited":
        parse_whole(value, "--filter exited")
    if key == "name":
        try:
            re.compile(value)
        except re.error as error:
            raise InvalidArgument(f"--filter name={value}: not a regular expression: {error}") from error


def _has_label(found: "Container", text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in found.labels and (not equals or found.labels[key] == value)


def _has_image(found: "Container", text: str) -> bool:
    names = (found.image, found.image.rpartition(":")[0], found.image_id.removeprefix("sha256:"))
    return any(name == text or name.endswith(f"/{text}") for name in names) or (
        len(text) > 2 and names[2].startswith(text)
    )


def _has_mount(found: "Container", text: str) -> bool:
    mounts = found.asked.mounts if found.asked else ()
    return any(text in (mount.source, mount.target) for mount in mounts)


def _has_network(found: "Container", text: str) -> bool:
    asked = found.asked
    if asked is None:
        return False
    is_bridge = asked.network.mode in ("", "bridge")
    return text in ((*list_names(asked.network), "bridge") if is_bridge else (asked.network.mode,))


_TESTS: dict[str, Test] = {
    "id": lambda found, text: found.id.startswith(text),
    "name": lambda found, text: re.search(text, found.name) is not None,
    "label": _has_label,
    "status": lambda found, text: found.state == text,
    "exited": lambda found, text: found.state == "exited" and found.exit_code == int(text),
    "ancestor": _has_image,
    "pod": lambda found, text: text == found.pod_name or found.pod_id.startswith(text),
    "health": lambda found, text: found.health.status == text,
    "volume": _has_mount,
    "network": _has_network,
}
