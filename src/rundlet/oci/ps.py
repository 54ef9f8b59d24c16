"""`ps`: the processes of a container, as ps(1) shows them or as a JSON list of pids."""

import os
import subprocess
import sys

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.oci import containers, groups, json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context


def ps(context: Context, arguments: Arguments) -> int:
    container_id, *options = arguments.words
    form = arguments.text("format", "table")
    if form not in ("table", "json"):
        raise InvalidArgument(f"unknown format {form!r}", hint="table or json")
    container = containers.load(context.root, container_id)
    group = groups.group_of(container.record)
    pids = group.pids(recursive=True) if group is not None else []
    if form == "json":
        sys.stdout.write(json.write(pids) + "\n")
    else:
        _write_table(pids, options or ["-ef"])
    return 0


def _write_table(pids: list[int], options: list[str]) -> None:
    try:
        done = subprocess.run(
            ["ps", *options], capture_output=True, text=True, check=False, env={**os.environ}
        )
    except FileNotFoundError:
        raise NotFound("ps: executable file not found in $PATH", hint="--format json needs none") from None
    if done.returncode:
        raise FailedPrecondition(f"ps: {done.stderr.strip() or f'exit code {done.returncode}'}")
    header, *lines = done.stdout.splitlines()
    names = header.split()
    if "PID" not in names:
        raise InvalidArgument("ps: the options must show the column PID")
    column = names.index("PID")
    wanted = {str(pid) for pid in pids}
    kept = (line for line in lines if line.split()[column] in wanted)
    sys.stdout.writelines(f"{line}\n" for line in (header, *kept))
