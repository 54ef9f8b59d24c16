"""The image that a container is made from: looked for here, or pulled as the caller wishes."""

from rundlet.engine.engine import Engine
from rundlet.errors import Error, InvalidArgument, NotFound
from rundlet.local.options import RunOptions
from rundlet.spec.descriptor import parse_platform
from rundlet.store.images import ImageRecord


def find_or_pull(engine: Engine, asked: RunOptions) -> ImageRecord:
    """Raises NotFound for an image that is neither here nor in its registry, and what a pull raises."""
    if not asked.image:
        raise InvalidArgument("image: none is given")
    here = _find(engine, asked)
    if asked.pull == "never" and here is None:
        raise NotFound(
            f"image {asked.image!r} is not on this machine", hint="it may not be pulled (--pull=never)"
        )
    if asked.pull == "always" or here is None:
        return engine.images.pull(asked.image, platform=asked.platform)
    if asked.pull == "newer":
        try:
            return engine.images.pull(asked.image, platform=asked.platform)
        except Error:
            return here  # podman: what is here will do when the registry cannot be asked
    return here


def _find(engine: Engine, asked: RunOptions) -> ImageRecord | None:
    """One of another platform than the one that is asked for is none."""
    here = engine.images.status(asked.image)
    if here is None or not asked.platform:
        return here
    wanted, found = parse_platform(asked.platform), here.config.platform
    same = (wanted.os, wanted.architecture) == (found.os, found.architecture)
    return here if same and wanted.variant in ("", found.variant) else None
