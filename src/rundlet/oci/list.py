"""`list`: the containers below the root."""

import sys
from collections.abc import Iterable, Iterator

from rundlet.errors import InvalidArgument, NotFound
from rundlet.oci import containers, json
from rundlet.oci.arguments import Arguments
from rundlet.oci.containers import Container, describe
from rundlet.oci.context import Context
from rundlet.oci.state import full_status

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def list(context: Context, arguments: Arguments) -> int:
    form = arguments.text("format", "table")
    if form not in ("table", "json"):
        raise InvalidArgument(f"unknown format {form!r}", hint="table or json")
    if arguments.has("quiet"):
        sys.stdout.writelines(f"{container_id}\n" for container_id in containers.list_ids(context.root))
        return 0
    found = [*_describe_all(context)]
    if form == "json":
        sys.stdout.write(json.write(found) + "\n")
    else:
        _write_table(found)
    return 0


def _describe_all(context: Context) -> Iterator[dict[str, object]]:
    for container_id in containers.list_ids(context.root):
        try:
            container = containers.load(context.root, container_id)
        except NotFound:
            continue  # deleted meanwhile
        yield {**describe(container, full_status(container)), "owner": _owner(container)}


def _owner(container: Container) -> str:
    import pwd

    try:
        return pwd.getpwuid(container.record.owner_uid).pw_name
    except KeyError:
        return f"#{container.record.owner_uid}"


def _write_table(rows: Iterable[dict[str, object]]) -> None:
    lines = [_COLUMNS, *(tuple(str(row[name.lower()]) for name in _COLUMNS) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("   ".join(cells).rstrip() + "\n")
