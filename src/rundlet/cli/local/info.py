import os
from typing import TYPE_CHECKING, Any

import click

import rundlet
from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import local_containers, pass_machine
from rundlet.cli.local.rows import print_json

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet info", "rundlet info --format '{{.store.graphRoot}}'"))
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@pass_machine
def command(machine: "Machine", template: str) -> None:
    """Show facts of this machine: host, store, how many containers and images."""
    document = describe_machine(machine)
    if template == "json":
        print_json(document)
        return
    from rundlet.cli.gotemplate import render_template

    print(render_template(template, document))


def describe_machine(machine: "Machine") -> dict[str, Any]:
    """The parts of podman's document that are meant here."""
    from rundlet.cgroup.layout import detect_layout

    states = [found.state for found in local_containers(machine)]
    places = machine.settings.places
    kernel = os.uname()
    return {
        "host": {
            "arch": kernel.machine,
            "cgroupVersion": f"v{detect_layout().version}",
            "cpus": os.cpu_count(),
            "hostname": kernel.nodename,
            "kernel": kernel.release,
            "os": "linux",
            "security": {"rootless": os.geteuid() != 0},
        },
        "store": {
            "graphDriverName": "overlay",
            "graphRoot": places.root,
            "runRoot": places.run_root,
            "configDir": places.config_dir,
            "imageStore": {"number": len(machine.engine.images.list())},
            "containerStore": {
                "number": len(states),
                **{state: states.count(state) for state in ("paused", "running")},
                "stopped": len(states) - states.count("paused") - states.count("running"),
            },
        },
        "version": {"Version": rundlet.__version__},
    }
