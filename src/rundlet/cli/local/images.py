"""`images`: podman's list of what is in the store."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from rundlet.cli.help import examples
from rundlet.cli.image_options import open_host
from rundlet.cli.local.command import local_command
from rundlet.cli.local.refused import refusing
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import human_age, human_size, rfc3339_time
from rundlet.errors import InvalidArgument
from rundlet.local.words.numbers import split_pair, suggest
from rundlet.spec.reference import parse_reference
from rundlet.store.images import ImageRecord

_NONE = "<none>"
_ID_DIGITS = 12
_COLUMNS = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Created": "CREATED", "Size": "SIZE"}
_SORTS: dict[str, Callable[[ImageRecord, str], Any]] = {
    "created": lambda record, _name: -record.created_at_ns,
    "id": lambda record, _name: record.id,
    "repository": lambda _record, name: name.rpartition(":")[0],
    "size": lambda record, _name: record.size_bytes,
    "tag": lambda _record, name: name.rpartition(":")[2],
}
_FILTERS = ("dangling", "label", "reference")


@local_command(
    epilog=examples(
        "rundlet images", "rundlet images -q redis", "rundlet images --format '{{.Repository}} {{.Size}}'"
    )
)
@click.argument("name", metavar="[NAME]", default="")
@click.option("-a", "--all", "_every", is_flag=True, help="There are no others here.")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option(
    "-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="dangling=, label=, reference=."
)
@click.option("--format", "template", default="", metavar="FORMAT", help="json, table …, or a Go template.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("-n", "--noheading", is_flag=True, help="Without the headings.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("--sort", type=click.Choice(sorted(_SORTS)), default="created", help="By this column.")
@refusing("images")
def command(name: str, filters: Sequence[str], template: str, _every: bool, **given: Any) -> None:
    """List images."""
    rows = [
        (record, each)
        for record in open_host().store.images.list()
        if _matches(record, filters)
        for each in record.names or ("",)
        if _fits(each, record, name)
    ]
    rows.sort(key=lambda row: _SORTS[given["sort"]](*row))
    if given["quiet"]:
        ids = dict.fromkeys(_show_id(record, full=given["no_trunc"]) for record, _ in rows)
        print("".join(f"{id}\n" for id in ids), end="")
        return
    columns = dict(_COLUMNS)
    if given["digests"]:
        columns = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", **columns}
    print_rows(
        [_describe_row(record, each, full=given["no_trunc"]) for record, each in rows],
        columns,
        template=template,
        heading=not given["noheading"],
        document=[_describe_listed(record) for record in {record.id: record for record, _ in rows}.values()],
    )


def _show_id(record: ImageRecord, *, full: bool) -> str:
    return record.id if full else record.id.removeprefix("sha256:")[:_ID_DIGITS]


def _describe_row(record: ImageRecord, name: str, *, full: bool) -> dict[str, Any]:
    repository, _, tag = name.rpartition(":")
    age = human_age(record.created_at_ns) if record.created_at_ns else "N/A"
    return {
        "Repository": repository or _NONE,
        "Tag": tag or _NONE,
        "ID": _show_id(record, full=full),
        "Id": _show_id(record, full=full),
        "Digest": record.manifest_digest,
        "Created": age,
        "CreatedAt": rfc3339_time(record.created_at_ns),
        "CreatedSince": age,
        "Size": human_size(record.size_bytes, 3),
        "Labels": dict(record.config.config.labels or {}),
    }


def _matches(record: ImageRecord, filters: Sequence[str]) -> bool:
    return all(_matches_one(record, *split_pair(text, "--filter KEY=VALUE")) for text in filters)


def _matches_one(record: ImageRecord, key: str, value: str) -> bool:
    if key == "dangling":
        return (not record.names) == (value == "true")
    if key == "label":
        name, equals, text = value.partition("=")
        labels = record.config.config.labels or {}
        return name in labels and (not equals or labels[name] == text)
    if key == "reference":
        return any(_fits(name, record, value) for name in record.names)
    raise InvalidArgument(f"--filter {key}={value}: unknown key {key!r}", hint=suggest(key, _FILTERS))


def _fits(name: str, record: ImageRecord, wanted: str) -> bool:
    """A name with or without its tag, or the beginning of an id."""
    if not wanted:
        return True
    if len(wanted) > 2 and record.id.removeprefix("sha256:").startswith(wanted):
        return True
    if not name:
        return False
    given, asked = parse_reference(name), parse_reference(wanted)
    whole = ":" in wanted.rpartition("/")[2]
    return given == asked if whole else given.name == asked.name


def describe_image(record: ImageRecord) -> dict[str, Any]:
    """podman's document of an image, as `inspect` has it."""
    config = record.config
    return {
        "Id": record.id.removeprefix("sha256:"),
        "Digest": record.manifest_digest,
        "RepoTags": list(record.names),
        "NamesHistory": list(record.names),
        "Parent": "",
        "Comment": "",
        "Version": "",
        "RepoDigests": list(record.digests),
        "Created": rfc3339_time(record.created_at_ns),
        "Size": record.size_bytes,
        "VirtualSize": record.size_bytes,
        "User": config.config.user,
        "Annotations": {},
        "Architecture": config.architecture,
        "Os": config.os,
        "Author": config.author,
        "Labels": dict(config.config.labels or {}) or None,
        "Config": {
            "User": config.config.user,
            "Env": list(config.config.env or ()),
            "Entrypoint": list(config.config.entrypoint or ()) or None,
            "Cmd": list(config.config.cmd or ()) or None,
            "WorkingDir": config.config.working_dir,
            "Labels": dict(config.config.labels or {}) or None,
            "StopSignal": config.config.stop_signal,
        },
        "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids)},
        "History": [{"created": step.created, "created_by": step.created_by} for step in config.history],
    }


def _describe_listed(record: ImageRecord) -> dict[str, Any]:
    """podman's document of an image, as `images --format json` has it."""
    return {
        "Id": record.id.removeprefix("sha256:"),
        "ParentId": "",
        "RepoTags": list(record.names),
        "RepoDigests": list(record.digests),
        "Names": list(record.names),
        "History": list(record.names),
        "Digest": record.manifest_digest,
        "Size": record.size_bytes,
        "SharedSize": 0,
        "VirtualSize": record.size_bytes,
        "Labels": dict(record.config.config.labels or {}) or None,
        "Created": record.created_at_ns // 10**9,
        "CreatedAt": rfc3339_time(record.created_at_ns),
    }
