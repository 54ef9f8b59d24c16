"""The reference is made of docstrings and of what click knows: nothing public may be without."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import click
import pytest

from tools.command_pages import list_pages, walk_commands
from tools.public_api import PUBLIC, PublicModule


def list_names(public: PublicModule) -> list[str]:
    """The public names of a module: those that it defines itself, when none are listed."""
    module = importlib.import_module(public.module)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == public.module)
    return [*public.names] or [name for name in own if not name.startswith("_")]


def undocumented(name: str, value: Any) -> Iterator[str]:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    if not text or text.startswith(f"{value.__name__}("):  # a NamedTuple's own
        yield name
    for inner, member in vars(value).items() if inspect.isclass(value) else ():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if not inner.startswith("_") and inspect.isfunction(function) and not function.__doc__:
            yield f"{name}.{inner}"


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.module)
def test_what_is_public_says_what_it_is(public: PublicModule) -> None:
    module = importlib.import_module(public.module)
    assert module.__doc__
    missing = [text for name in list_names(public) for text in undocumented(name, getattr(module, name))]
    assert not missing


def test_what_the_package_offers_is_in_the_reference() -> None:
    import rundlet

    shown = {name for public in PUBLIC for name in list_names(public)}
    assert set(rundlet.__all__) <= shown


@pytest.mark.parametrize(("words", "command"), [pytest.param(*each, id=each[0]) for each in walk_commands()])
def test_a_command_has_help_examples_and_a_word_on_each_option(words: str, command: click.Command) -> None:
    assert command.help
    assert "Examples:" in (command.epilog or "")
    assert words.startswith("rundlet ")
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    assert not [one.opts for one in options if not one.help]


def test_every_page_of_a_command_shows_all_that_is_below_it() -> None:
    pages = "\n".join(page.render() for page in list_pages())
    assert not [words for words, _ in walk_commands() if f"# {words}\n" not in pages]
