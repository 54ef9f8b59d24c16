"""The command line without containers: flags as Go programs take them, usage, spec and features."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet.errors import InvalidArgument
from rundlet.oci.arguments import parse_arguments
from rundlet.oci.commands import COMMANDS, GLOBAL_FLAGS
from rundlet.oci.containers import check_id
from rundlet.oci.help import usage
from rundlet.oci.signals import parse_signal

TABLE = "detach,d bundle,b=text env,e=list count=number size=size wait=duration"


def run(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rundlet.oci.entry", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, cwd=cwd)


@pytest.mark.parametrize(("argv", "flags", "words"), [
    (["-d", "id"], {"detach": True}, ["id"]),
    (["--detach=false", "id"], {"detach": False}, ["id"]),
    (["-detach", "id"], {"detach": True}, ["id"]),
    (["--bundle", "/x", "id"], {"bundle": "/x"}, ["id"]),
    (["-b=/x", "id"], {"bundle": "/x"}, ["id"]),
    (["id", "--bundle=/x"], {"bundle": "/x"}, ["id"]),
    (["-e", "A=1", "--env=B=2", "id"], {"env": ["A=1", "B=2"]}, ["id"]),
    (["--count", "-1", "id"], {"count": -1}, ["id"]),
    (["--size", "64m"], {"size": 64 << 20}, []),
    (["--size", "1GB"], {"size": 1 << 30}, []),
    (["--size", "-1"], {"size": -1}, []),
    (["--wait", "250ms"], {"wait": 0.25}, []),
    (["--wait", "2m"], {"wait": 120.0}, []),
    (["--", "--detach"], {}, ["--detach"]),
    (["-"], {}, ["-"]),
])  # fmt: skip
def test_flags(argv: list[str], flags: dict[str, object], words: list[str]) -> None:
    parsed = parse_arguments(argv, TABLE, flags_first=False)
    assert (parsed.flags, parsed.words) == (flags, words)


def test_with_flags_first_a_word_ends_them() -> None:
    parsed = parse_arguments(["-d", "id", "sh", "-c", "x", "--", "y"], TABLE, flags_first=True)
    assert (parsed.flags, parsed.words) == ({"detach": True}, ["id", "sh", "-c", "x", "--", "y"])


@pytest.mark.parametrize("argv", [
    ["--nosuch"], ["-x"], ["--bundle"], ["--count", "many"], ["--size", "12q"], ["--wait", "soon"], ["--detach=maybe"],
])  # fmt: skip
def test_wrong_flags(argv: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        parse_arguments(argv, TABLE, flags_first=False)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_tells_of_every_flag(name: str) -> None:
    text = usage(name)
    table = COMMANDS[name].flags if name else GLOBAL_FLAGS
    for entry in table.split():
        assert f"--{entry.partition('=')[0].partition(',')[0]}" in text
    assert f"  rundlet-runtime {name}" in text.split("Example")[1]


def test_help_and_version() -> None:
    assert "Commands:" in run("--help").stdout
    assert "Usage: rundlet-runtime create [flags] ID" in run("create", "--help").stdout
    assert run("--version").stdout.startswith("rundlet-runtime version ")
    assert json.loads(run("features").stdout)["ociVersionMax"] in run("--version").stdout
    assert "(hint: --help lists" in run("create", "--nosuch", "id").stderr
    outcome = run("nosuch")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert "no command 'nosuch'" in outcome.stderr
    assert "usage: rundlet-runtime create [flags] ID" in run("create").stderr


@pytest.mark.parametrize("name", ["a", "A.b-c_d+e", "0", "..a"])
def test_ids(name: str) -> None:
    assert check_id(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a b", "a\n", "é", "a" * 300])
def test_what_is_no_id(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_id(name)


def test_signals() -> None:
    assert [parse_signal(text) for text in ("TERM", "SIGTERM", "sigkill", "9", "RTMIN+3", "rtmax-1", "0")] == [
        15, 15, 9, 9, 37, 63, 0,
    ]  # fmt: skip
    for text in ("", "NOSUCH", "99999", "TERM+x", "-9"):
        with pytest.raises(InvalidArgument):
            parse_signal(text)


def test_spec_is_written_once(tmp_path: Path) -> None:
    assert run("spec", cwd=tmp_path).returncode == 0
    document = json.loads((tmp_path / "config.json").read_text())
    assert document["process"]["args"] == ["sh"]
    assert "is there already" in run("spec", cwd=tmp_path).stderr
    (tmp_path / "other").mkdir()
    assert run("spec", "--rootless", "--bundle", str(tmp_path / "other")).returncode == 0
    document = json.loads((tmp_path / "other/config.json").read_text())
    assert {"type": "user"} in document["linux"]["namespaces"]
    assert document["linux"]["uidMappings"][0]["size"] == 1


def test_features() -> None:
    document = json.loads(run("features").stdout)
    assert document["ociVersionMin"] == "1.0.0"
    assert "rro" in document["mountOptions"]
    linux = document["linux"]
    assert linux["mountExtensions"]["idmap"]["enabled"]
    assert linux["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert linux["netDevices"]["enabled"]
    assert "MPOL_BIND" in linux["memoryPolicy"]["modes"]
    assert linux["apparmor"]["enabled"], "what this kernel lacks counts as supported"
    assert document["potentiallyUnsafeConfigAnnotations"] == ["org.criu.config"]


def test_unknown_log_formats() -> None:
    assert "unknown log format 'xml'" in run("--log-format", "xml", "list").stderr
    assert run("--cgroup-manager", "disabled", "list").returncode == 1
