"""rundlet.toml: drop-ins, what is refused, what is printed."""

import tomllib
from pathlib import Path

import pytest
from msgspec import structs

from rundlet.engine import configfile
from rundlet.engine.configfile import NOTES, RUNTIME_NOTES, format_settings, format_value, load_settings
from rundlet.engine.criofile import format_taken, take_crio
from rundlet.engine.handlers import BUILTIN, Features, Handlers, choose_runtimes
from rundlet.engine.settings import USUAL_RUNTIMES, RuntimeSettings, Settings
from rundlet.engine.telemetry import METRICS_NOTES, TRACING_NOTES
from rundlet.errors import InvalidArgument, NotFound


@pytest.fixture
def write(tmp_path):
    """write(name, text) below a directory; the path of rundlet.toml in it."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(tmp_path / "rundlet.toml")

    return write


def test_without_any_file_there_are_defaults(monkeypatch, tmp_path):
    monkeypatch.setattr(configfile, "DEFAULT_FILE", f"{tmp_path}/rundlet.toml")
    assert load_settings() == Settings()
    with pytest.raises(NotFound, match="rundlet.toml"):
        load_settings(f"{tmp_path}/rundlet.toml")


def test_drop_ins_in_the_order_of_their_names(write):
    write("rundlet.toml.d/20-b.toml", 'root = "/b"\n[runtimes.mine]\nargs = ["-v"]')
    write("rundlet.toml.d/10-a.toml", 'root = "/a"\nrun_root = "/a"\n[runtimes.mine]\ntimeout_s = 5')
    write("rundlet.toml.d/30-c.conf", "this is not read")
    path = write("rundlet.toml", 'root = "/0"\nsocket = "/0"\n[runtimes.mine]\npath = "runc"\nargs = ["-q"]')
    settings = load_settings(path, {"log_level": "debug", "cni_bin_dirs": (), "stream_port": 0})
    assert (settings.root, settings.run_root, settings.socket, settings.log_level) == (
        "/b",
        "/a",
        "/0",
        "debug",
    )
    assert settings.runtimes == {"mine": RuntimeSettings(path="runc", args=("-v",), timeout_s=5.0)}


def test_a_usual_runtime_starts_from_what_it_usually_is(write):
    settings = load_settings(write("rundlet.toml", '[runtimes.runsc]\nargs = ["--network=sandbox"]'))
    assert settings.runtimes["runsc"] == structs.replace(USUAL_RUNTIMES["runsc"], args=("--network=sandbox",))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('rot = "/a"', "rot: unknown key"),
        ("root = 3", "root: expected str, got int"),
        ('root = "relative"', "root: must be an absolute path"),
        ('log_level = "loud"', "log_level: "),
        ('runtimes = "runc"', "runtimes: expected tables"),
        ("[runtimes]\nrunc = 3", "runtimes.runc: expected a table"),
        ('[runtimes.mine]\npth = "/x"', "runtimes.mine.pth: unknown key"),
        ("[runtimes.mine]\npath = 3", "runtimes.mine.path: expected str, got int"),
        ('[runtimes.mine]\ntype = "vm"', "runtimes.mine.type: "),
        ('[runtimes.mine]\nroot = "x"', "runtimes.mine.root: must be an absolute path"),
        ('[runtimes.mine]\npath = "a/b"', "runtimes.mine.path: must be"),
        ("[runtimes.mine]\ntimeout_s = 0", "runtimes.mine.timeout_s: must be positive"),
        ('[runtimes.mine]\ntype = "builtin"\npath = "x"', "runtimes.mine: a builtin handler"),
        ('[runtimes."a b"]', "runtimes.a b: a handler's name"),
        ("root = \n", "line 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(write, text, error):
    with pytest.raises(InvalidArgument) as told:
        load_settings(write("rundlet.toml", text))
    assert error in told.value.message


def test_the_file_of_an_unknown_key_is_named(write):
    path = write("rundlet.toml", "")
    write("rundlet.toml.d/1.toml", "rot = 1")
    with pytest.raises(InvalidArgument, match=r"rundlet\.toml\.d/1\.toml: rot: unknown key"):
        load_settings(path)


def test_what_is_printed_can_be_read_again(write):
    asked = Settings(
        root='/a "b"\\c\n\x7f',
        stream_port=10010,
        runtimes={"a.b": RuntimeSettings(path="runc", default_annotations={"x/y": "ü"}, own_sandbox=True)},
    )
    found = load_settings(write("rundlet.toml", format_settings(asked, asked.runtimes)))
    assert found == asked


def test_every_key_says_what_it_means():
    assert set(NOTES) == set(Settings.__struct_fields__)
    assert set(RUNTIME_NOTES) == set(RuntimeSettings.__struct_fields__)
    text = format_settings(Settings(), choose_runtimes(Settings()))
    assert {"runtimes", *NOTES} == set(tomllib.loads(text))


@pytest.mark.parametrize("value", ["", "a'\"", True, 3, 2.5, [], ["a", 1], {}, {"a-b": {"c d": ["x"]}}])
def test_values(value):
    assert tomllib.loads(f"x = {format_value(value)}")["x"] == value


# -- handlers -------------------------------------------------------------------


def test_the_builtin_handler_is_the_default(tmp_path):
    handlers = Handlers(Settings(root=str(tmp_path)))
    assert handlers.find("") == handlers.find(BUILTIN)
    assert handlers.list()[0] == ("", handlers.find(BUILTIN))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (Settings(default_runtime_handler="none"), "default_runtime_handler: no runtime is named 'none'"),
        (Settings(runtimes={"mine": RuntimeSettings()}), "runtimes.mine.path: there is no program 'mine'"),
    ],
)
def test_handlers_that_cannot_be(settings, error):
    with pytest.raises(InvalidArgument) as told:
        Handlers(settings)
    assert told.value.message.startswith(error)


def test_a_reload_that_fails_changes_nothing(tmp_path):
    handlers = Handlers(Settings(root=str(tmp_path)))
    before = handlers.list()
    with pytest.raises(InvalidArgument):
        handlers.reload(Settings(default_runtime_handler="none"))
    assert handlers.list() == before


def test_features_are_asked_once_for_each_version_of_a_program(tmp_path):
    program, calls = tmp_path / "runtime", tmp_path / "calls"

    def install(options: str) -> None:
        program.write_text(f"#!/bin/sh\necho $1 >> {calls}\necho '{{\"mountOptions\": [{options}]}}'\n")
        program.chmod(0o755)

    def read() -> Features:
        mine = RuntimeSettings(path=str(program))
        handlers = Handlers(Settings(root=str(tmp_path), runtimes={"mine": mine}))
        return handlers.read_features(handlers.find("mine"))

    install('"ro"')
    assert [read(), read()] == [Features(), Features()]
    install('"ro", "rro"')
    assert read() == Features(recursive_readonly_mounts=True)
    assert calls.read_text() == "features\n" * 2


def test_a_program_without_features_has_none(tmp_path):
    settings = Settings(root=str(tmp_path), runtimes={"mine": RuntimeSettings(path="false")})
    handlers = Handlers(settings)
    assert handlers.read_features(handlers.find("mine")) == Features()


# -- crio.conf ------------------------------------------------------------------

CRIO = """
[crio]
root = "/var/lib/containers/storage"
[crio.api]
listen = "/var/run/crio/crio.sock"
stream_port = "10010"
stream_idle_timeout = "1h30m"
[crio.runtime]
default_runtime = "crun"
log_level = "warn"
pids_limit = 0
default_env = []
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
runtime_type = "oci"
runtime_root = "/run/crun"
monitor_path = "/usr/bin/conmon"
default_annotations = {"a/b" = "c"}
[crio.runtime.runtimes.kata]
runtime_path = "/usr/bin/containerd-shim-kata-v2"
runtime_type = "vm"
[crio.network]
plugin_dirs = ["/opt/cni/bin/"]
"""


def test_crio_conf_becomes_rundlet_toml(write):
    text = format_taken(take_crio(tomllib.loads(CRIO)), "crio.conf")
    settings = load_settings(write("rundlet.toml", text))
    assert settings == Settings(
        socket="/var/run/crio/crio.sock",
        stream_port=10010,
        stream_idle_timeout_s=5400.0,
        default_runtime_handler="crun",
        log_level="warning",
        cni_bin_dirs=("/opt/cni/bin/",),
        runtimes={
            "crun": RuntimeSettings(path="/usr/bin/crun", root="/run/crun", default_annotations={"a/b": "c"})
        },
    )
    for left in ("crio.root", "crio.runtime.pids_limit = 0", "runtimes.crun.monitor_path", "runtimes.kata"):
        assert left in text.partition("no counterpart")[2]
    assert "default_env" not in text


def test_every_key_is_in_the_documentation():
    page = Path(__file__, "../../../docs/configuration.md").resolve().read_text()
    keys = [*NOTES, *METRICS_NOTES, *TRACING_NOTES]
    assert [key for key in keys if f"`{key}`" not in page and f"`[{key}" not in page] == []
