"""Look for damage in the store, and mend it."""

import json
from typing import TYPE_CHECKING

import click

from rundlet.cli.image_options import image_command, open_places, open_supply
from rundlet.errors import DataLoss

if TYPE_CHECKING:
    from rundlet.image.repair import Report
    from rundlet.image.supply import Supply
    from rundlet.store.store import Places

_EVERYTHING = click.option(
    "--read-data", is_flag=True, help="Read every file and every blob as well; takes as long as that takes."
)


@image_command("rundlet image check", "rundlet image check --read-data -o json")
@_EVERYTHING
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer."
)
def check(read_data: bool, output: str) -> None:
    """Look for damage in the store; each finding is a line, and any makes the exit code 1."""
    from rundlet.store.check import check_places

    findings = check_places(open_places(), read_data=read_data)
    if output == "json":
        print(json.dumps([{**each._asdict(), "message": each.describe()} for each in findings], indent=4))
    else:
        print("".join(f"{each.describe()}\n" for each in findings), end="")
    if findings:
        raise DataLoss(f"{len(findings)} findings", hint="rundlet image repair mends what can be mended")


@image_command("rundlet image repair --dry-run", "rundlet image repair")
@_EVERYTHING
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--offline", is_flag=True, help="Fetch nothing: what only a registry has is let go.")
@click.option("--authfile", default="", metavar="FILE", help="auth.json with the registries' credentials.")
def repair(read_data: bool, dry_run: bool, offline: bool, authfile: str) -> None:
    """Mend what is damaged; only what cannot be had again is let go."""
    from rundlet.image.repair import plan_repair

    places = open_places()
    if dry_run:
        for step in plan_repair(places, read_data=read_data):
            print(step.describe())
        return
    report = _carry_out(places, None if offline else open_supply(authfile), read_data=read_data)
    if report.left:
        raise DataLoss(f"{len(report.left)} findings are left, the first: {report.left[0].describe()}")


def _carry_out(places: "Places", supply: "Supply | None", *, read_data: bool) -> "Report":
    from rundlet.image.repair import repair_store

    return repair_store(
        places,
        supply,
        read_data=read_data,
        watch=lambda step, reason: print(f"{step.describe()}: {reason or 'done'}", flush=True),
    )
