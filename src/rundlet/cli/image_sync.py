import sys
from typing import Any, Literal

import click

from rundlet.cli.image_copying import Job, copying_options, make_signer, read_options, run_job
from rundlet.cli.image_options import access_options, image_command, open_host, read_access
from rundlet.cli.image_progress import tell
from rundlet.errors import Error
from rundlet.image.location import Location
from rundlet.image.place import Host
from rundlet.image.plan import CopyOptions
from rundlet.image.sync import Failure, SyncItem, list_items, locate_copy


@image_command(
    "rundlet image sync --src docker --dest dir registry.example/busybox /media/usb",
    "rundlet image sync --src dir --dest docker /media/usb registry.example/mirror",
    "rundlet image sync --src yaml --dest docker --keep-going --dry-run sync.yml registry.example",
)
@click.argument("source", metavar="SOURCE")
@click.argument("destination", metavar="DESTINATION")
@click.option(
    "-s", "--src", "kind", type=click.Choice(["docker", "dir", "yaml"]), required=True, help="Source."
)
@click.option("-d", "--dest", type=click.Choice(["docker", "dir"]), required=True, help="Destination.")
@click.option("--scoped", is_flag=True, help="Keep the whole name of the source.")
@click.option("--append-suffix", default="", metavar="TEXT", help="Put this behind every tag.")
@click.option("--keep-going", is_flag=True, help="Copy the others when one fails; fail at the end.")
@click.option("--authfile", default="", metavar="FILE", help="auth.json of both sides.")
@copying_options
@access_options("src", daemon=False)
@access_options("dest", daemon=False)
def command(
    source: str,
    destination: str,
    kind: Literal["docker", "dir", "yaml"],
    dest: Literal["docker", "dir"],
    keep_going: bool,
    **given: Any,
) -> None:
    """Copy many images between registries and directories.

    SOURCE is a repository (docker), a directory of images (dir) or a file that names
    repositories and tags (yaml).
    """
    host, auth_file = open_host(), given.pop("authfile")
    access = read_access(given, "src", common_auth_file=auth_file)
    target_access = read_access(given, "dest", common_auth_file=auth_file)
    options, failures = read_options(given), _Failures(keep_going)
    found = list_items(
        host,
        kind,
        source,
        access=access,
        scoped=given["scoped"],
        suffix=given["append_suffix"],
        failed=failures.add if keep_going else None,
    )
    copied: list[str] = []
    for item in found:
        target = locate_copy(dest, destination, item)
        job = _make_job(item, target, options, given)._replace(destination_access=target_access)
        digest = failures.guard(item, lambda job=job: _copy(host, job))
        copied += [f"{digest} {target}\n"] if digest else []
    _write_digests(given["digestfile"], copied)
    failures.finish()


def _make_job(item: SyncItem, target: Location, options: CopyOptions, given: dict[str, Any]) -> Job:
    return Job(
        item.source,
        target,
        options._replace(platforms=item.platforms or options.platforms),
        item.access,
        retry_times=given["retry_times"],
        retry_delay_s=given["retry_delay"],
        sign=make_signer(dict(given), target),
        quiet=given["quiet"],
        progress=given["progress"],
        dry_run=given["dry_run"],
    )


def _copy(host: Host, job: Job) -> str:
    """Copy one image; its digest, "" after a dry run."""
    if job.progress == "json":
        tell("copy", source=str(job.source), destination=str(job.destination))
    elif not job.quiet:
        print(f"{'Would copy' if job.dry_run else 'Copying'} {job.source} to {job.destination}")
        sys.stdout.flush()
    result = run_job(host, job)
    return str(result.document.digest) if result else ""


def _write_digests(path: str, lines: list[str]) -> None:
    if path:
        import os

        from rundlet.image.files import write_document

        write_document(os.path.abspath(path), "".join(lines).encode())


class _Failures:
    """What went wrong, told at once; counted for the end."""

    def __init__(self, keep_going: bool) -> None:
        self._keep_going = keep_going
        self._count = 0

    def add(self, failure: Failure) -> None:
        self._count += 1
        print(f"rundlet: {failure.item}: {failure.error}", file=sys.stderr)

    def guard(self, item: SyncItem, copy: Any) -> str:
        try:
            done: str = copy()
        except Error as error:
            if not self._keep_going:
                raise
            self.add(Failure(str(item.source), error))
            return ""
        return done

    def finish(self) -> None:
        if self._count:
            print(f"rundlet: {self._count} of the images were not copied", file=sys.stderr)
            raise click.exceptions.Exit(1)
