"""Settings of rundletd, and its command line's failures."""

import shutil
import subprocess
import sys

import pytest

from rundlet.engine.configfile import load_settings
from rundlet.errors import InvalidArgument, NotFound

OTHER_THREAD = """
import os, signal, threading, time
from rundlet.cri.daemon import listen_to_signals
signals = listen_to_signals(signal.SIGTERM)
main = threading.main_thread().native_id
def send():
    while open(f"/proc/self/task/{main}/wchan").read() not in ("pipe_read", "anon_pipe_read"):
        time.sleep(0.001)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=send).start()
print(os.read(signals, 1)[0])
"""


def test_a_signal_that_another_thread_took_is_not_slept_through():
    argv = [sys.executable, "-c", OTHER_THREAD]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "15\n"


def test_options_win_over_the_file(tmp_path):
    (tmp_path / "rundlet.toml").write_text('root = "/a"\nrun_root = "/b"\ncni_builtin = []\n')
    settings = load_settings(f"{tmp_path}/rundlet.toml", {"run_root": "/c", "root": None, "cni_bin_dirs": ()})
    assert (settings.root, settings.run_root, settings.cni_builtin) == ("/a", "/c", ())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('rot = "/a"', "rot"),
        ("root = 3", "root"),
        ('root = "relative"', "root"),
        ("root = ", "rundlet.toml: Invalid value"),
        ("root = \xff", "rundlet.toml"),
    ],
)
def test_a_bad_file_names_what_is_wrong(tmp_path, text, error):
    path = tmp_path / "rundlet.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidArgument, match=error):
        load_settings(str(path), {})


def test_a_missing_file():
    with pytest.raises(NotFound):
        load_settings("/nonexistent/rundlet.toml", {})


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--version"], 0, "rundletd, version"),
        (["--config", "/nonexistent"], 1, "rundletd: no configuration file at /nonexistent"),
        (["--sock"], 2, "Usage: rundletd"),
    ],
)
def test_the_command_line(arguments, code, line):
    argv = [sys.executable, "-m", "rundlet.cri.daemon", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert line in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_unit_runs_the_rundletd_that_printed_it(tmp_path):
    argv = [sys.executable, "-m", "rundlet.cri.daemon", "unit"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    (start,) = (
        line.removeprefix("ExecStart=") for line in text.splitlines() if line.startswith("ExecStart=")
    )
    done = subprocess.run(
        [*start.split(), "--version"], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.startswith("rundletd")
    assert "Type=notify" in text
    check = shutil.which("systemd-analyze")
    if check:
        (tmp_path / "rundletd.service").write_text(text)
        done = subprocess.run(
            [check, "verify", f"{tmp_path}/rundletd.service"], capture_output=True, text=True, check=False
        )
        assert "rundletd.service" not in done.stderr, done.stderr
