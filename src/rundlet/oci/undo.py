"""What is to be taken back when the rest fails; contextlib's ExitStack without its import."""

from collections.abc import Callable
from typing import Any, Self


class Undo:
    """In a `with` block: what was pushed is called, last first, when the block ends by an error."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def callback(self, step: Callable[..., object], *args: Any) -> None:
        self._steps.append((step, args))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        while self._steps:
            step, args = self._steps.pop()
            try:
                step(*args)
            except Exception as second:
                error.add_note(f"taking back: {second}")
