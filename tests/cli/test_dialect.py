"""Whose verb a word is: podman's or crictl's."""

import pytest

from rundlet.cli.cri import COMMANDS as CRI_COMMANDS
from rundlet.cli.dialect import CRI, LOCAL, choose_dialect, is_endpoint_named
from rundlet.cli.main import LOCAL as LOCAL_COMMANDS
from rundlet.cli.main import cli


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ps -a", LOCAL),
        ("ps -o json", CRI),
        ("ps -ojson", CRI),
        ("ps --output=json", CRI),
        ("create redis redis-server", LOCAL),
        ("create 5f2c container.json sandbox.json", CRI),
        ("create --with-pull 5f2c container.yaml sandbox.yaml", CRI),
        ("exec db sort -o out", LOCAL),
        ("exec --sync db true", CRI),
        ("exec -it db sh", LOCAL),
        ("logs -f db", LOCAL),
        ("logs --previous db", CRI),
        ("inspect -o yaml db", CRI),
        ("stop -t 5 db", LOCAL),
    ],
)
def test_options_tell_the_dialect(words, expected):
    verb, *arguments = words.split()
    assert choose_dialect(verb, arguments, endpoint_named=False) == expected


@pytest.mark.parametrize("verb", sorted(CRI_COMMANDS.keys() & LOCAL_COMMANDS.keys()))
def test_a_named_endpoint_means_crictl_s_verbs(verb):
    assert choose_dialect(verb, (), endpoint_named=True) == CRI


def test_version_and_info_ask_who_listens():
    assert choose_dialect("version", (), endpoint_named=False) == LOCAL
    assert choose_dialect("version", (), endpoint_named=False, socket_there=True) == CRI
    assert choose_dialect("ps", (), endpoint_named=False, socket_there=True) == LOCAL


def test_an_endpoint_is_named_by_option_environment_or_file(monkeypatch, tmp_path):
    file = tmp_path / "crictl.yaml"
    monkeypatch.delenv("CONTAINER_RUNTIME_ENDPOINT", raising=False)
    monkeypatch.setenv("CRI_CONFIG_FILE", str(file))
    assert not is_endpoint_named("")
    file.write_text("timeout: 5\nruntime-endpoint: unix:///run/x.sock\n")
    assert is_endpoint_named("")
    file.unlink()
    assert is_endpoint_named("unix:///run/x.sock")
    monkeypatch.setenv("CONTAINER_RUNTIME_ENDPOINT", "unix:///run/y.sock")
    assert is_endpoint_named("")


@pytest.mark.parametrize("name", sorted(LOCAL_COMMANDS))
def test_every_command_of_the_help_is_there_and_tells_of_itself(name):
    command = cli.get_command(None, name)
    assert command.get_short_help_str()
    assert "Examples:" in (command.epilog or "")
