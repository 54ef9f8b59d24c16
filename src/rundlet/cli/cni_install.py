import click

from rundlet.cli.help import examples
from rundlet.network.install import install_plugins


@click.command(epilog=examples("rundlet cni-install /opt/cni/bin"))
@click.argument("directory", type=click.Path(file_okay=False, resolve_path=True))
def command(directory: str) -> None:
    """Install the built-in CNI plugins as executables, for other runtimes to call."""
    for path in install_plugins(directory):
        print(path)
