import os
import platform
import sys

import click

import rundlet
from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command


@local_command(epilog=examples("rundlet version", "rundlet version --format '{{.Version}}'"))
@click.option("-f", "--format", "template", default="", metavar="FORMAT", help="json, or a Go template.")
def command(template: str) -> None:
    """Show this program's version; a CRI runtime's where one listens."""
    facts = {
        "Version": rundlet.__version__,
        "Python": platform.python_version(),
        "Platform": f"linux/{os.uname().machine}",
        "Kernel": os.uname().release,
    }
    if template:
        from rundlet.cli.gotemplate import render_template

        print(render_template("{{json .}}" if template == "json" else template, dict(facts)))
        return
    sys.stdout.write("".join(f"{name + ':':<10}{value}\n" for name, value in facts.items()))
