"""What happened on this machine, as podman tells it: read from the engine's journal, chosen by filters.

A filter is a key with values; values of one key are alternatives, keys must all hold:

    container, pod    an id or its beginning, or a name      image       a name, or a part of it
    event             create, start, died, …                 type        container, pod, image, …
    label             KEY or KEY=VALUE                       volume, network, secret   a name
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from rundlet.engine.journal import Entry, Journal
from rundlet.errors import InvalidArgument

Filters = Mapping[str, Sequence[str]]

_OBJECTS = ("container", "pod", "volume", "network", "secret")
KEYS = (*_OBJECTS, "image", "event", "type", "label")


def read_events(
    journal: Journal,
    *,
    since_ns: int = 0,
    until_ns: int = 0,
    follow: bool = False,
    filters: Filters = {},  # noqa: B006 - not changed
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[Entry]:
    """The oldest first.  Times are nanoseconds since the epoch, 0 for no limit.

    `follow` goes on with what comes, until `until_ns` or until `is_over`, asked twice a second; without
    `since_ns` it begins now.  Raises InvalidArgument for an unknown filter.
    """
    for key in filters:
        if key not in KEYS:
            raise InvalidArgument(f"unknown filter {key!r}", hint=f"one of {', '.join(KEYS)}")
    return _choose(_open(journal, since_ns, until_ns, is_over, follow=follow), since_ns, until_ns, filters)


def _open(
    journal: Journal, since_ns: int, until_ns: int, is_over: Callable[[], bool], *, follow: bool
) -> Iterator[Entry]:
    if not follow:
        return journal.read()
    return journal.follow(
        is_over=lambda: is_over() or bool(until_ns and time.time_ns() > until_ns), with_past=bool(since_ns)
    )


def _choose(entries: Iterator[Entry], since_ns: int, until_ns: int, filters: Filters) -> Iterator[Entry]:
    return (
        entry
        for entry in entries
        if entry.time_ns >= since_ns
        and (not until_ns or entry.time_ns <= until_ns)
        and all(any(_fits(entry, key, value) for value in values) for key, values in filters.items())
    )


def _fits(entry: Entry, key: str, value: str) -> bool:
    match key:
        case "event":
            return entry.action == value
        case "type":
            return entry.type == value
        case "image":
            return bool(value) and value in (entry.name if entry.type == "image" else entry.image)
        case "label":
            name, has_value, wanted = value.partition("=")
            return name in entry.labels and (not has_value or entry.labels[name] == wanted)
        case "pod":
            return entry.pod_id.startswith(value) if entry.pod_id else _is_object(entry, key, value)
    return _is_object(entry, key, value)


def _is_object(entry: Entry, type_: str, value: str) -> bool:
    return entry.type == type_ and bool(value) and (entry.name == value or entry.id.startswith(value))
