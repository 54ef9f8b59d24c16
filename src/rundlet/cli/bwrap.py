"""`rundlet bwrap`: a bundle's bubblewrap command.

It runs nothing: containers are run by the handler `bwrap`, whose keeper joins namespaces and
cgroups around this command.  Sandboxes without those need nothing else.
"""

import os
import shlex
import sys

import click

from rundlet.cli.help import examples
from rundlet.errors import InvalidArgument
from rundlet.plan.bwrap import covered_paths, describe_bwrap, plan_bwrap
from rundlet.plan.seccomp import compile_seccomp
from rundlet.runtime.kinds import find_kinds
from rundlet.spec.json import decode
from rundlet.spec.runtime import RuntimeConfig


def read_bundle(bundle: str, file: str) -> RuntimeConfig:
    """A bundle's configuration, its root path absolute; InvalidArgument when it cannot be read."""
    path = os.path.join(bundle, file)
    try:
        with open(path, "rb") as opened:
            config = decode(opened.read(), RuntimeConfig, path)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error
    root = config.root
    if root is None:
        return config
    return config.replace(root=root.replace(path=os.path.abspath(os.path.join(bundle, root.path))))


@click.command(epilog=examples("rundlet bwrap --dry-run .", "rundlet bwrap --dry-run /run/bundle | sh"))
@click.argument("bundle", type=click.Path(exists=True, file_okay=False), default=".")
@click.option("--dry-run", is_flag=True, required=True, help="Print the command; there is no other way yet.")
@click.option("--config", default="config.json", show_default=True, help="The bundle's configuration.")
@click.option("--bwrap", default="bwrap", show_default=True, help="The bubblewrap program.")
def command(bundle: str, dry_run: bool, config: str, bwrap: str) -> None:  # noqa: ARG001 - required, so true
    """Print the bubblewrap command for an OCI BUNDLE; what cannot be mapped is refused by its JSON path."""
    document = read_bundle(bundle, config)
    seccomp = document.linux.seccomp if document.linux else None
    plan = plan_bwrap(
        os.path.basename(os.path.abspath(bundle)),
        document,
        program=bwrap,
        kinds=find_kinds(document.root.path if document.root else "", covered_paths(document)),
        seccomp=compile_seccomp(seccomp).filter if seccomp else b"",
    )
    for line in describe_bwrap(plan):
        print(line)
    try:
        print(shlex.join((plan.program, *plan.options, "--", *plan.command)))
    except BrokenPipeError:
        sys.stderr.close()
