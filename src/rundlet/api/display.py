"""Tables for notebooks."""

import html
from collections.abc import Iterable, Sequence


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """HTML; everything is escaped, for names and commands are anybody's."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
