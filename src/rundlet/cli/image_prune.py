"""What keeps images, and the removal of those that nothing keeps."""

import click

from rundlet.cli.image_options import image_command, open_host
from rundlet.image.storage import find_image
from rundlet.store.explain import PruneStep, explain, explain_all, plan_prune, plan_unfinished
from rundlet.store.explain import prune as carry_out


@image_command(
    "rundlet image prune", "rundlet image prune --all --dry-run", "rundlet image prune --explain app:1"
)
@click.argument("names", metavar="[IMAGE…]", nargs=-1)
@click.option("-a", "--all", "every", is_flag=True, help="Named images too, when no container uses them.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@click.option(
    "--explain", "explaining", is_flag=True, help="Say what keeps the images (all, or those named)."
)
@click.option("--unfinished", is_flag=True, help="Free what pulls that were cut off have brought, too.")
def prune(
    names: tuple[str, ...], every: bool, force: bool, dry_run: bool, explaining: bool, unfinished: bool
) -> None:
    """Remove images that have no name, or with --all every one that nothing uses; pinned ones stay."""
    store = open_host().store
    found = [explain(store, name) for name in names] or explain_all(store)
    if explaining:
        print("".join(f"{each.describe()}\n" for each in found), end="")
        return
    plan: list[PruneStep] = [*plan_prune(found, named=every)]
    plan += plan_unfinished(store) if unfinished else ()
    if plan and not (force or dry_run):
        click.confirm(f"Remove {len(plan)} images?", abort=True, err=True)
    for step in plan:
        print(step.describe())
    if not dry_run:
        carry_out(store, plan)


@image_command("rundlet image pin registry.k8s.io/pause:3.9", "rundlet image pin --undo app:1")
@click.argument("names", metavar="IMAGE…", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Let go of a pin.")
def pin(names: tuple[str, ...], undo: bool) -> None:
    """Pin images: neither prune nor a kubelet's garbage collection removes them."""
    store = open_host().store
    for name in names:
        store.images.pin(find_image(store, name).id, pinned=not undo)
