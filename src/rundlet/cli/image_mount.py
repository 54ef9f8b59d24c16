"""Images of the store as directories."""

import click

from rundlet.cli.image_options import image_command, open_host
from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.image.mounts import list_mounts, mount_image, unmount_image
from rundlet.image.storage import find_image


@image_command("rundlet image mount app:1", "rundlet image mount")
@click.argument("names", metavar="[IMAGE…]", nargs=-1)
def mount(names: tuple[str, ...]) -> None:
    """Mount images, read only, and print where; without a name list those that are mounted."""
    host = open_host()
    if not names:
        for image, path in list_mounts(host.store, host.run_root):
            print(f"{next(iter(image.names), image.id)} {path}")
    for name in names:
        path = mount_image(host.store, host.run_root, find_image(host.store, name))
        print(path if len(names) == 1 else f"{name} {path}")


@image_command("rundlet image unmount app:1", "rundlet image unmount --all")
@click.argument("names", metavar="[IMAGE…]", nargs=-1)
@click.option("-a", "--all", "every", is_flag=True, help="Unmount all images.")
@click.option("-f", "--force", is_flag=True, help="Do not mind images that are not mounted.")
def unmount(names: tuple[str, ...], every: bool, force: bool) -> None:
    """Unmount images."""
    host = open_host()
    if bool(names) == every:
        raise InvalidArgument("name images, or --all")
    chosen = [find_image(host.store, name) for name in names]
    chosen += [image for image, _ in list_mounts(host.store, host.run_root)] if every else []
    for image in chosen:
        if not unmount_image(host.run_root, image) and not (every or force):
            raise FailedPrecondition(f"image {image.id} is not mounted")
        print(image.id)
