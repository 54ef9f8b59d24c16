"""Names of containers and pods: what may be one, and one for who gave none."""

import re
import secrets

from rundlet.errors import InvalidArgument

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_NAME_MAX = 253
_QUALITIES = (
    "amber ample brisk calm clear deft eager even fair fleet frank fresh glad hardy hazel keen level light"
    " loyal lucid mellow merry mild neat noble oaken open plain prime proud quick quiet ready ripe robust"
    " round sober sound spry stout sturdy supple sure swift tidy trim true vivid warm wise"
).split()
_THINGS = (
    "barrel bung butt cask cellar chime cooper croze drum firkin flagon gauge hogshead hoop jar jug keg"
    " kilderkin ladle mash oak panier pin pipe puncheon quart rack rivet rundlet spigot spile stave stopper"
    " tankard tap tierce tub tun vat vessel wharf"
).split()


def check_name(name: str, kind: str) -> None:
    """Raises InvalidArgument for what cannot be the name of a `kind`."""
    if not _NAME.fullmatch(name) or len(name) > _NAME_MAX:
        raise InvalidArgument(
            f"name {name!r} of a {kind}: letters, digits, '_', '.' and '-', beginning with a letter or digit"
        )


def invent_name() -> str:
    """As "brisk_firkin"; there are some two thousand, so the caller tries again when it is taken."""
    return f"{secrets.choice(_QUALITIES)}_{secrets.choice(_THINGS)}"
