"""Short names with several search registries: asked for at a terminal, recorded, refused, or looked for in turn."""

import os
import subprocess

import pytest

from rundlet.registry.client import RegistryClient
from tests.cli.atterminal import run_at_terminal, rundlet_command
from tests.image.conftest import push, serving
from tests.image.images import tar


@pytest.fixture
def place(tmp_path):
    """A home with two search registries, of which the second has the image: (environment, addresses)."""
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        client = RegistryClient()
        push(client, f"{two.address}/app:v1", [tar({"motd": b"hello"})])
        client.close()
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}
        environment["CONTAINERS_REGISTRIES_CONF"] = str(tmp_path / "registries.conf")
        yield environment, (one.address, two.address)


def configure(tmp_path, addresses, mode):
    names = ", ".join(f'"{each}"' for each in addresses)
    text = f'unqualified-search-registries = [{names}]\nshort-name-mode = "{mode}"\n'
    (tmp_path / "registries.conf").write_text(text)


def command(tmp_path):
    root = ["--root", str(tmp_path / "root"), "--run-root", str(tmp_path / "run"), "--insecure-policy"]
    return rundlet_command(tmp_path / "cache" / "aliases.conf", "image", *root, "pull", "-q", "app:v1")


def pull_at_terminal(tmp_path, environment, answer):
    """(exit code, what the terminal showed)."""
    return run_at_terminal(command(tmp_path), environment, answer)


@pytest.mark.parametrize("mode", ["permissive", "enforcing"])
def test_who_sits_at_the_terminal_is_asked_once(place, tmp_path, mode):
    environment, addresses = place
    configure(tmp_path, addresses, mode)
    code, shown = pull_at_terminal(tmp_path, environment, b"2\n")
    assert code == 0, shown
    assert f"2  {addresses[1]}/app:v1" in shown
    aliases = (tmp_path / "cache" / "aliases.conf").read_text()
    assert aliases == f'[aliases]\n  "app" = "{addresses[1]}/app"\n'
    code, shown = pull_at_terminal(tmp_path, environment, b"")
    assert (code, "Which image" in shown) == (0, False)


def test_a_choice_that_did_not_do_is_not_recorded(place, tmp_path):
    environment, addresses = place
    configure(tmp_path, addresses, "permissive")
    code, _ = pull_at_terminal(tmp_path, environment, b"1\n")
    assert code == 1
    assert not (tmp_path / "cache").exists()


def test_disabled_never_asks(place, tmp_path):
    environment, addresses = place
    configure(tmp_path, addresses, "disabled")
    code, shown = pull_at_terminal(tmp_path, environment, b"")
    assert (code, "Which image" in shown) == (0, False)


@pytest.mark.parametrize(("mode", "code"), [("permissive", 0), ("disabled", 0), ("enforcing", 1)])
def test_where_nobody_can_be_asked(place, tmp_path, mode, code):
    environment, addresses = place
    configure(tmp_path, addresses, mode)
    done = subprocess.run(
        command(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("ambiguous" in done.stderr) == (code == 1)
