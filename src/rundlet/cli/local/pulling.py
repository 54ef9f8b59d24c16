"""The image of a container that is to be made: brought here first, and shown while it comes.

On a terminal the layers are bars, and who wrote a short name that may mean several images is asked;
elsewhere podman's lines go to stderr:

    Trying to pull registry.example/app:1...
    Copying blob sha256:… (5.2MB)
    Writing manifest to image destination

Ctrl-C leaves what the next pull goes on with.
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from rundlet.errors import InvalidArgument
from rundlet.local.images import Manner, find_here, find_or_pull

if TYPE_CHECKING:
    from rundlet.image.progress import CopyWatcher, PullProgress, Watcher
    from rundlet.local.machine import Machine
    from rundlet.local.options import RunOptions
    from rundlet.registry.settings import Credentials
    from rundlet.spec.reference import Reference


def bring_image(machine: "Machine", asked: "RunOptions", given: Mapping[str, Any]) -> "RunOptions":
    """The options with an image that is here.

    `given` has authfile, creds, tls_verify and quiet.  Raises what `find_or_pull` raises.
    """
    here = find_here(machine.engine, asked)
    if here is not None and asked.pull in ("missing", "never"):
        return asked
    if asked.pull == "never":
        find_or_pull(machine.engine, asked)  # which refuses
    short = asked.image
    chosen = _choose(machine, short) if here is None else None
    if chosen is not None:
        asked = replace(asked, image=str(chosen))
    with _watching(machine, asked.image, quiet=given["quiet"]) as watch:
        manner = Manner(
            credentials=_read_credentials(given["creds"]),
            auth_file=os.path.abspath(given["authfile"]) if given["authfile"] else "",
            tls_verify=given["tls_verify"],
            progress=watch,
        )
        find_or_pull(machine.engine, asked, manner)
    if chosen is not None:
        machine.engine.images.record_choice(short, chosen)
    return replace(asked, pull="missing")


def _read_credentials(pair: str | None) -> "Credentials | None":
    if not pair:
        return None
    from rundlet.cli.ask import ask
    from rundlet.registry.settings import Credentials

    user, colon, password = pair.partition(":")
    if not user:
        raise InvalidArgument("--creds: names no user", hint="as USER or USER:PASSWORD")
    if not colon:
        password = ask("Password", hidden=True, instead="give both with --creds USER:PASSWORD")
    return Credentials(username=user, password=password)


def _choose(machine: "Machine", text: str) -> "Reference | None":
    """The image that somebody at the terminal says is meant; None where there is nothing to ask, or nobody."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    choices = machine.engine.images.list_choices(text)
    if not choices:
        return None
    from rundlet.cli.ask import choose

    return choices[choose(f"Which image is {text}?", [str(each) for each in choices])]


@contextmanager
def _watching(machine: "Machine", image: str, *, quiet: bool) -> "Iterator[Watcher | None]":
    if quiet:
        yield None
        return
    names = machine.engine.images.resolve_name(image)
    _tell(f"Trying to pull {names[0] if len(names) == 1 else image}...")
    if sys.stderr.isatty():
        from rundlet.cli.image_progress import watching

        with watching("bars", quiet=False) as bars:
            yield _translate(bars)
    else:
        yield _Lines()
    _tell("Writing manifest to image destination")


def _translate(watch: "CopyWatcher") -> "Watcher":
    """A pull's progress as a copy's."""
    from rundlet.image.progress import CopyProgress

    begun: set[str] = set()

    def tell(progress: "PullProgress") -> None:
        digest, state, done_bytes, size_bytes = progress
        if state == "downloading":
            begun.add(digest)
            watch(CopyProgress(digest, "copying", done_bytes, size_bytes))
        else:
            watch(CopyProgress(digest, "done" if digest in begun else "skipped", size_bytes, size_bytes))

    return tell


class _Lines:
    """One for each layer, when it begins to come; called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def __call__(self, progress: "PullProgress") -> None:
        with self._lock:
            if progress.digest in self._told:
                return
            self._told.add(progress.digest)
            is_new = progress.state == "downloading"
            _tell(f"Copying blob {progress.digest}" + ("" if is_new else " skipped: already exists"))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
