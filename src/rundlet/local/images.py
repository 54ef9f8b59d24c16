"""The image that a container is made from: looked for here, or pulled as the caller wishes."""

from typing import NamedTuple

from rundlet.engine.engine import Engine
from rundlet.errors import Error, InvalidArgument, NotFound
from rundlet.image.progress import Watcher
from rundlet.local.options import RunOptions
from rundlet.registry.settings import Credentials
from rundlet.spec.descriptor import parse_platform
from rundlet.store.images import ImageRecord


class Manner(NamedTuple):
    """How an image is pulled; see `engine.images.Images.pull`.  Nothing of it is written down."""

    credentials: Credentials | None = None
    auth_file: str = ""
    tls_verify: bool | None = None
    progress: Watcher | None = None


def find_or_pull(
    engine: Engine,
    asked: RunOptions,
    manner: Manner = Manner(),  # noqa: B008 - immutable
) -> ImageRecord:
    """Raises NotFound for an image that is neither here nor in its registry, and what a pull raises."""
    if not asked.image:
        raise InvalidArgument("image: none is given")
    here = find_here(engine, asked)
    if asked.pull == "never" and here is None:
        raise NotFound(
            f"image {asked.image!r} is not on this machine", hint="it may not be pulled (--pull=never)"
        )
    if asked.pull == "always" or here is None:
        return _pull(engine, asked, manner)
    if asked.pull == "newer":
        try:
            return _pull(engine, asked, manner)
        except Error:
            return here  # podman: what is here will do when the registry cannot be asked
    return here


def _pull(engine: Engine, asked: RunOptions, manner: Manner) -> ImageRecord:
    return engine.images.pull(
        asked.image,
        manner.credentials,
        progress=manner.progress,
        platform=asked.platform,
        auth_file=manner.auth_file,
        tls_verify=manner.tls_verify,
    )


def find_here(engine: Engine, asked: RunOptions) -> ImageRecord | None:
    """None for an image that is not here, or here for another platform than the one that is asked for."""
    here = engine.images.status(asked.image)
    if here is None or not asked.platform:
        return here
    wanted, found = parse_platform(asked.platform), here.config.platform
    same = (wanted.os, wanted.architecture) == (found.os, found.architecture)
    return here if same and wanted.variant in ("", found.variant) else None
