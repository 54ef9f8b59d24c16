from typing import Any

import click

from rundlet.cli.document import info_document, plain_message, print_statuses, snake_message
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


@click.command(epilog=examples("rundlet info", "rundlet info -q -o yaml"))
@click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default="json", show_default=True, help="Format."
)
@click.option("-q", "--quiet", is_flag=True, help="Without the runtime's own details.")
@click.pass_obj
def command(session: Session, output: str, *, quiet: bool) -> None:
    """Show the runtime's conditions and configuration."""
    answer = session.call(session.runtime.Status, api.StatusRequest(verbose=not quiet))
    document: dict[str, Any] = {"status": plain_message(answer.status)}
    if answer.runtime_handlers:
        document["runtimeHandlers"] = [snake_message(handler) for handler in answer.runtime_handlers]
    if answer.HasField("features"):
        document["features"] = snake_message(answer.features)
    print_statuses([document | info_document(dict(answer.info))], output)
