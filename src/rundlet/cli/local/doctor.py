"""`doctor`: what this host has for containers, and what to do about what it has not."""

import json
import os

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command

_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@local_command(epilog=examples("rundlet doctor", "rundlet doctor --format json"))
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", help="Format.")
def command(shape: str) -> None:
    """Check this host: namespaces, ids, overlay, cgroups, seccomp, network, disk.

    Ends with 1 when something stands in the way of every container.
    """
    from rundlet.local.doctor import Host, examine
    from rundlet.local.settings import find_places

    uid = os.geteuid()
    findings = examine(Host(find_places(os.environ, uid), uid))
    if shape == "json":
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.level]}  {finding.name:{width}}  {finding.message}")
            if finding.hint:
                print(f"{'':9}{'':{width}}  → {finding.hint}")
    if any(finding.level == "fault" for finding in findings):
        raise click.exceptions.Exit(1)
