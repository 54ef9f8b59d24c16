"""Chunks for the streaming list RPCs (KEP-5825): no message empty, each item once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

BATCH_ITEMS = 256  # an item with its labels stays far below 16 kB, a message below gRPC's default 4 MiB


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH_ITEMS):
        yield items[start : start + BATCH_ITEMS]
