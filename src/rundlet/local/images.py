"""The image that a container is made from: looked for here, or pulled as the caller wishes."""

from rundlet.engine.engine import Engine
from rundlet.errors import Error, InvalidArgument, NotFound
from rundlet.local.options import RunOptions
from rundlet.store.images import ImageRecord


def find_or_pull(engine: Engine, asked: RunOptions) -> ImageRecord:
    """Raises NotFound for an image that is neither here nor in its registry, and what a pull raises."""
    if not asked.image:
        raise InvalidArgument("image: none is given")
    here = engine.images.status(asked.image)
    if asked.pull == "never" and here is None:
        raise NotFound(
            f"image {asked.image!r} is not on this machine", hint="it may not be pulled (--pull=never)"
        )
    if asked.pull == "always" or here is None:
        return engine.images.pull(asked.image)
    if asked.pull == "newer":
        try:
            return engine.images.pull(asked.image)
        except Error:
            return here  # podman: what is here will do when the registry cannot be asked
    return here
