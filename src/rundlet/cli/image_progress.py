"""A copy as it is seen: bars on a terminal, a line a blob elsewhere, JSON for programs.

{"event": "blob", "digest": "sha256:…", "state": "copying", "done": 4096, "size": 65536}
{"event": "image", "digest": "sha256:…"}
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rundlet.image.progress import CopyProgress, CopyWatcher

# A program that watches is told of one blob this often.
_INTERVAL_S = 0.2
_DIGITS = 12
_VERBS = {"done": "Copied", "skipped": "Skipped", "mounted": "Mounted"}


def tell(event: str, **facts: Any) -> None:
    """One event for a program."""
    print(json.dumps({"event": event, **facts}), flush=True)


@contextmanager
def watching(mode: str, *, quiet: bool) -> Iterator[CopyWatcher]:
    """The watcher for `mode`: "json", "plain", "bars", or "auto", which asks what stderr is."""
    if quiet:
        yield lambda _progress: None
    elif mode == "json":
        yield _JsonWatcher()
    elif mode == "bars" or (mode == "auto" and sys.stderr.isatty()):
        with _bars() as watcher:
            yield watcher
    else:
        yield _PlainWatcher()


class _PlainWatcher:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, progress: CopyProgress) -> None:
        if progress.state == "copying":
            return
        from rundlet.cli.table import human_size

        size = f" ({human_size(progress.size_bytes)})" if progress.size_bytes else ""
        with self._lock:
            print(f"{_VERBS[progress.state]} blob {progress.digest}{size}", file=sys.stderr, flush=True)


class _JsonWatcher:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told_at_s: dict[str, float] = {}

    def __call__(self, progress: CopyProgress) -> None:
        now_s = time.monotonic()
        with self._lock:
            recently = now_s - self._told_at_s.get(progress.digest, -_INTERVAL_S) < _INTERVAL_S
            if progress.state == "copying" and recently:
                return
            self._told_at_s[progress.digest] = now_s
            tell(
                "blob",
                digest=progress.digest,
                state=progress.state,
                done=progress.done_bytes,
                size=progress.size_bytes,
            )


@contextmanager
def _bars() -> Iterator[CopyWatcher]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        tasks: dict[str, Any] = {}
        lock = threading.Lock()

        def watch(progress: CopyProgress) -> None:
            with lock:
                if progress.digest not in tasks:
                    name = progress.digest.partition(":")[2][:_DIGITS]
                    tasks[progress.digest] = shown.add_task(name, total=progress.size_bytes or None, state="")
            shown.update(
                tasks[progress.digest],
                completed=progress.done_bytes,
                state="" if progress.state == "copying" else progress.state,
            )

        yield watch
