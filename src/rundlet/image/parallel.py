"""Jobs side by side, in threads: what `concurrent.futures` does, without the time that takes to import."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from rundlet.errors import Cancelled

T = TypeVar("T")


def run_parallel(
    jobs: Sequence[Callable[[], T]], width: int, stop: Callable[[], object] = lambda: None
) -> list[T]:
    """What the jobs give, in their order; at most `width` run at a time.

    When one fails no other begins, `stop` is called to end those that run, and once they have,
    the first error that is not just Cancelled is raised; an interrupt of the caller ends them too.
    """
    results: list[T | None] = [None] * len(jobs)
    failures: list[BaseException] = []
    waiting = iter(range(len(jobs)))
    lock = threading.Lock()

    def fail(error: BaseException) -> None:
        failures.append(error)
        stop()

    def take() -> int | None:
        with lock:
            return None if failures else next(waiting, None)

    def work() -> None:
        while (number := take()) is not None:
            try:
                results[number] = jobs[number]()
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                fail(error)

    threads = [threading.Thread(target=work, name=f"job-{n}") for n in range(min(width, len(jobs)))]
    for thread in threads:
        thread.start()
    try:
        _join(threads)
    except BaseException as error:
        fail(error)
        _join(threads)
        raise
    if failures:
        raise next((each for each in failures if not isinstance(each, Cancelled)), failures[0])
    return cast("list[T]", results)


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
