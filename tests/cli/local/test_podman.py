"""podman's options beside ours: every one of its verbs' is supported or refused with a reason, and the page says which."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from rundlet.cli.local.refused import ONLY, REFUSED
from rundlet.cli.main import cli

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
VERBS = [
    *"run create exec ps logs rm stop start kill restart wait rename update inspect attach cp top stats".split(),
    *"port diff commit export events pause unpause images info".split(),
    *(f"pod {verb}" for verb in ("create", "start", "stop", "rm")),
    *(f"network {verb}" for verb in ("ls", "rm", "inspect", "connect", "disconnect", "prune")),
    *(f"kube {verb}" for verb in ("play", "down", "generate")),
    *(f"system {verb}" for verb in ("df", "info", "prune")),
    "healthcheck run",
]


def find_options(verb):
    """Ours by their long spelling."""
    context, command = click.Context(cli), cli
    for word in verb.split():
        command = command.get_command(context, word)
    options = (param for param in command.params if isinstance(param, click.Option))
    return {next(name for name in param.opts if name.startswith("--")): param for param in options}


def list_supported(verb):
    refused = {one.names.split()[-1] for one in REFUSED if verb in one.verbs}
    return sorted(name for name in find_options(verb) if name not in refused)


def make_table():
    """The rows of the page."""
    rows = ["| verb | options that are supported |", "|---|---|"]
    rows += [f"| `{verb}` | {' '.join(f'`{name}`' for name in list_supported(verb))} |" for verb in VERBS]
    rows += ["", "| refused | of | why |", "|---|---|---|"]
    rows += [
        f"| `{one.names.split()[-1]}` | {', '.join(one.verbs)} | {one.reason}"
        + (f" ({one.hint})" if one.hint else "")
        + " |"
        for one in REFUSED
    ]
    rows += [
        f"| `{name}`, all but `{' '.join(only.values)}` | create, run | {only.reason} |"
        for name, only in sorted(ONLY.items())
    ]
    return "\n".join(rows)


def test_the_page_lists_the_options_as_they_are():
    """`python -m tests.cli.local.test_podman` writes them there."""
    assert make_table() in PAGE.read_text()


@pytest.mark.differential
@pytest.mark.parametrize("verb", VERBS)
def test_podman_has_no_option_that_is_unknown_here(verb):
    if shutil.which("podman") is None:
        pytest.skip("podman not on this host")
    shown = subprocess.run(["podman", *verb.split(), "--help"], capture_output=True, text=True, check=True)
    theirs = re.findall(r"^  +(?:(-\w), )?(--[\w-]+)", shown.stdout.partition("Options:")[2], re.MULTILINE)
    ours = {name for param in find_options(verb).values() for name in (*param.opts, *param.secondary_opts)}
    unknown = {name for pair in theirs for name in pair if name} - ours - {"--help"}
    assert unknown == set()


def write_page():
    begin, _, rest = PAGE.read_text().partition("| verb | options that are supported |")
    end = rest.partition("<!-- end of options -->")[2]
    PAGE.write_text(f"{begin}{make_table()}\n\n<!-- end of options -->{end}")


if __name__ == "__main__":
    write_page()
