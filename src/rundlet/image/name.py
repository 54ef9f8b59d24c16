"""Image names as people give them to commands that mostly look at the store."""

from rundlet.image.location import TRANSPORTS, Location, parse_location


def locate_image(text: str) -> Location:
    """ "transport:details", else the name or id of an image in the store; InvalidArgument when malformed."""
    if text.partition(":")[0] in TRANSPORTS:
        return parse_location(text)
    return Location("containers-storage", name=text)
