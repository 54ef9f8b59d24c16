"""docs/python-images.md: its examples run as they stand, and what it names is there."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "python-images.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(code, "docs/python-images.md", "exec"), names)
    finally:
        names["host"].close()
        names["server"].stop()
    told = capsys.readouterr().out
    assert "['1', '2']" in told
    assert "localhost/app:stable" in told


def named_functions():
    table = PAGE[PAGE.index("| verb |") :]
    module = ""
    for name in re.findall(
        r"`([a-zA-Z_.]+)(?:\(…\)[a-z.]*)?`", re.sub(r"^\|[^|]*\|", "", table, flags=re.MULTILINE)
    ):
        if name.startswith("Host.") or name == "rundlet.image":
            continue
        module = name.rpartition(".")[0] or module
        yield module, name.rpartition(".")[2]


@pytest.mark.parametrize(("module", "function"), sorted(set(named_functions())))
def test_every_function_of_the_table_is_there(module, function):
    full = module if module.startswith("rundlet.") else f"rundlet.image.{module}"
    assert callable(getattr(importlib.import_module(full), function))
