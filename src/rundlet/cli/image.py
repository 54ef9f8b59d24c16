"""`rundlet image`: what skopeo does, with skopeo's words, and the store's own images."""

import click

from rundlet.cli.help import examples
from rundlet.cli.image_options import global_options
from rundlet.cli.lazygroup import LazyGroup

COMMANDS = {
    "copy": ("image_copy", "Copy an image from one place to another."),
    "inspect": ("image_inspect", "Show what an image says of itself."),
    "list-tags": ("image_tags", "List the tags of a repository."),
    "delete": ("image_delete", "Delete an image from a registry."),
    "sync": ("image_sync", "Copy many images between registries and directories."),
    "login": ("image_login:login", "Log in to a registry."),
    "logout": ("image_login:logout", "Log out of a registry."),
    "manifest-digest": ("image_digest", "Compute the digest of a manifest file."),
    "standalone-sign": ("image_sign:standalone_sign", "Sign a manifest file by a GPG key."),
    "standalone-verify": ("image_sign:standalone_verify", "Verify a signature of a manifest file."),
    "generate-sigstore-key": ("image_sign:generate_key", "Make a pair of sigstore keys."),
    "pull": ("image_pull:pull", "Copy an image from a registry into the store."),
    "push": ("image_pull:push", "Copy an image from the store to a registry."),
    "images": ("image_list:images", "List the store's images."),
    "rmi": ("image_list:rmi", "Remove images from the store."),
    "tag": ("image_list:tag", "Give an image of the store a further name."),
    "untag": ("image_list:untag", "Take names of an image away."),
    "prune": ("image_prune:prune", "Remove images that have no name, or that nothing uses."),
    "pin": ("image_prune:pin", "Keep images from being pruned."),
    "from-host": ("image_build:from_host", "Make an image of programs of this machine."),
    "from-dir": ("image_build:from_dir", "Make an image of a directory."),
    "unpack": ("image_build:unpack", "Unpack an image into a bundle."),
    "repack": ("image_build:repack", "Put what was changed in a bundle on top of its image."),
    "insert": ("image_build:insert", "Put a file or directory into an image."),
    "config": ("image_build:config", "Change an image's configuration."),
    "add-layer": ("image_build:add_layer", "Put a tar on top of an image."),
    "check": ("image_check:check", "Look for damage in the store."),
    "repair": ("image_check:repair", "Mend what is damaged in the store."),
    "history": ("image_history", "Show what an image was made by."),
    "diff": ("image_diff", "Show how the files of two images differ."),
    "mount": ("image_mount:mount", "Mount an image's files, read only."),
    "unmount": ("image_mount:unmount", "Unmount images."),
    "save": ("image_archive:save", "Write an image of the store to an archive."),
    "load": ("image_archive:load", "Read an image from an archive into the store."),
}
ALIASES = {"ls": "images", "list": "images", "rm": "rmi", "umount": "unmount", "cp": "copy"}


class _Group(LazyGroup):
    table = COMMANDS
    aliases = ALIASES


@click.group(
    cls=_Group,
    epilog=examples(
        "rundlet image copy docker://quay.io/a/b:1 oci:/srv/b:1",
        "rundlet image inspect docker://quay.io/a/b:1",
        "rundlet image images",
    ),
)
@global_options
def command() -> None:
    """Copy, inspect, sign and sync images.

    An image is named TRANSPORT:DETAILS: docker://HOST/NAME:TAG, oci:PATH:NAME,
    oci-archive:PATH:NAME, dir:PATH, docker-archive:PATH:NAME, docker-daemon:NAME:TAG,
    containers-storage:NAME, tarball:PATH.
    """
