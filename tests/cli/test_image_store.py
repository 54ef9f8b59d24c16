"""`rundlet image check`, `repair`, `prune` and `pin`, as processes would run them."""

import json
import os
import subprocess
import sys

import pytest

from rundlet.cli.main import run
from rundlet.store.store import Store
from tests.store.conftest import add_image


@pytest.fixture
def root(tmp_path):
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    add_image(store)
    store.close()
    return tmp_path / "root"


@pytest.fixture
def image(tmp_path, root, capsys):
    """Runs `rundlet image ARGUMENTS…` on the store; (exit code, stdout, stderr)."""

    def call(*arguments):
        options = ("--root", str(root), "--run-root", str(tmp_path / "run"))
        code = run(["image", arguments[0], *options, *arguments[1:]])
        return (code, *capsys.readouterr())

    return call


def test_a_clean_store_says_nothing(image):
    assert image("check") == (0, "", "")
    assert image("check", "--read-data", "-o", "json") == (0, "[]\n", "")


def test_damage_is_told_and_mended(image, root):
    os.unlink(root / "layers/1.json")
    code, out, err = image("check")
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == ["layer-note 1", "layer-unlisted 1"]
    assert err == "rundlet: 2 findings\nhint: rundlet image repair mends what can be mended\n"
    code, out, _ = image("check", "-o", "json")
    assert [each["kind"] for each in json.loads(out)] == ["layer-note", "layer-unlisted"]
    code, out, _ = image("repair", "--dry-run")
    assert (code, out.splitlines()[0]) == (0, "write the note of layer 1 anew")
    assert not (root / "layers/1.json").exists()
    code, out, _ = image("repair", "--offline")
    assert "write the note of layer 1 anew: done" in out


def test_what_keeps_an_image_is_explained_and_prune_asks(image):
    _, out, _ = image("prune", "--explain")
    assert "it is named docker.io/library/redis:latest" in out
    assert image("pin", "redis")[0] == 0
    assert "it is pinned" in image("prune", "--explain", "redis")[1]
    assert image("prune", "--all", "--force")[1] == ""
    assert image("pin", "--undo", "redis")[0] == 0
    code, out, _ = image("prune", "--all", "--dry-run")
    assert code == 0
    assert out.startswith("remove image sha256:")
    assert image("prune", "--all", "--force")[0] == 0
    assert image("prune", "--explain")[1] == ""


def test_no_store_is_told(tmp_path, capsys):
    assert run(["image", "check", "--root", str(tmp_path / "nothing")]) == 1
    assert "there is no store at" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("check",), ("repair", "--offline"), ("repair", "--dry-run")])
def test_a_directory_that_is_no_store_is_told_and_stays_as_it_is(tmp_path, capsys, command):
    (tmp_path / "notes").write_text("mine")
    assert run(["image", "--root", str(tmp_path), "--run-root", str(tmp_path / "run"), *command]) == 1
    assert f"there is no store at {tmp_path}\nhint:" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["notes"]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's part is played by root")
def test_a_store_of_root_refuses_others_with_a_hint(root):
    """The modules are loaded before the user changes: another one may not reach this interpreter's files."""
    program = f"""
import os
from rundlet.cli.main import run
words = ["image", "--root", "{root}", "--run-root", "{root.parent}/run", "images"]
assert run(words) == 0
os.setgid(65534); os.setuid(65534)
raise SystemExit(run(words))
"""
    os.chmod(root, 0o700)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"rundlet: store {root}: permission denied", "hint: run it as root"]
