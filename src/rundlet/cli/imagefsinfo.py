from collections.abc import Iterable

import click

from rundlet.cli.document import plain_message, print_statuses
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cli.table import human_size
from rundlet.cri.proto import api_pb2 as api


def describe(label: str, filesystems: Iterable[api.FilesystemUsage]) -> str:
    lines = [f"{label} Filesystem "]
    for index, usage in enumerate(filesystems):
        lines += [
            f"TimeStamp[{index}]: {usage.timestamp}",
            f"Disk[{index}]: {human_size(usage.used_bytes.value)}",
            f"Inodes[{index}]: {usage.inodes_used.value}",
            f"Mountpoint[{index}]: {usage.fs_id.mountpoint}",
        ]
    return "\n".join(lines)


@click.command(epilog=examples("rundlet imagefsinfo", "rundlet imagefsinfo -o table"))
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), default="json", help="Format.")
@click.pass_obj
def command(session: Session, output: str) -> None:
    """Show the disk usage of images."""
    answer = session.call(session.images.ImageFsInfo, api.ImageFsInfoRequest())
    if output == "table":
        print(describe("Container", answer.container_filesystems))
        print(describe("Image", answer.image_filesystems))
    else:
        print_statuses([{"status": plain_message(answer)}], output)
