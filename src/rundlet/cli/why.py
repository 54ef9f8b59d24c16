import time
from typing import Any

import click

from rundlet.cli.help import examples
from rundlet.cli.records import ANSWER_S, ask_daemon, open_records, roots_options
from rundlet.cli.session import Session
from rundlet.engine.why import Account, explain, explain_all
from rundlet.engine.whytext import format_account
from rundlet.spec.json import encode_pretty


@click.command(
    epilog=examples(
        "rundlet why",
        "rundlet why default/web",
        "rundlet why 5f2c8a1b quay.io/library/redis:alpine",
        "rundlet why --run-root /run/rundlet --root /var/lib/rundlet web",
    )
)
@click.argument("names", nargs=-1, metavar="[POD|CONTAINER|IMAGE]...")
@roots_options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Format.")
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], root: str, run_root: str, output: str) -> None:
    """Show what objects are stuck at, since when, and what that waits for.

    Also how they failed, or ended.  NAME is an id or its beginning, a pod's or container's name,
    NAMESPACE/NAME, or an image; without one, everything under way is shown, and the last failure.  When the daemon does
    not answer, its records are read: they outlive it.
    """
    accounts = _ask(session, names) if not root and not run_root else None
    if accounts is None:
        accounts = _read(names, root, run_root)
    if output == "json":
        click.echo(encode_pretty(accounts), nl=False)
        return
    now_ns = time.time_ns()
    lines = [line for account in accounts for line in format_account(account, now_ns)]
    if not names and not any(account.running for account in accounts):
        print("nothing is under way")
    print("\n".join(lines), end="\n" if lines else "")


def _ask(session: Session, names: tuple[str, ...]) -> list[Account] | None:
    from rundlet.cri.insight import WhyRequest

    def ask(stub: Any) -> list[Account]:
        return [
            account for name in names or ("",) for account in stub.Why(WhyRequest(name), timeout=ANSWER_S)
        ]

    return ask_daemon(session, ask)


def _read(names: tuple[str, ...], root: str, run_root: str) -> list[Account]:
    with open_records(root, run_root) as evidence:
        if not names:
            return explain_all(evidence)
        return [account for name in names for account in explain(evidence, name)]
