"""Lists as podman prints them: columns two blanks apart, `--format` as json, table or a Go template."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

GAP = 2
_NARROWEST = 12  # as podman sets Go's tabwriter


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Every column but the last as wide as its widest cell."""
    widths = [max(_NARROWEST, *(len(cell) + GAP for cell in column)) for column in zip(*rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + f"{row[-1]}\n"
        for row in rows
    )


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=4, ensure_ascii=False))


def print_rows(
    found: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    template: str = "",
    heading: bool = True,
    document: Any = None,
) -> None:
    """`found` has a text for each template field, `columns` maps fields to headings.

    A template that begins with "table " has headings and columns; `document` is what json shows.
    """
    if template == "json":
        print_json(document)
    elif template and not template.startswith("table"):
        _print_filled(template, found)
    else:
        fields = template.removeprefix("table").strip()
        rows = _fill_rows(fields, found, columns) if fields else _plain_rows(found, columns)
        print(format_columns(rows if heading else rows[1:]) if rows[0 if heading else 1 :] else "", end="")


def _plain_rows(found: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[list[str]]:
    return [list(columns.values()), *([str(item[field]) for field in columns] for item in found)]


def _fill_rows(
    template: str, found: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> list[list[str]]:
    """Fields of the template, between tabs or blanks, are columns."""
    from rundlet.cli.gotemplate import render_template

    text = template.replace("\\t", "\t").replace("}} {{", "}}\t{{")
    cells = text.split("\t")
    names = [cell.strip("{} .") for cell in cells]
    headings = [columns.get(name, name.upper()) for name in names]
    return [headings, *([render_template(cell, dict(item)) for cell in cells] for item in found)]


def _print_filled(template: str, found: Sequence[Mapping[str, Any]]) -> None:
    from rundlet.cli.gotemplate import render_template

    for item in found:
        print(render_template(template, dict(item)))


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
