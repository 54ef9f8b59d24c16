"""What a command line costs before it does anything."""

import subprocess
import sys

import pytest

HEAVY = ("grpc", "google.protobuf", "yaml", "rich", "rundlet.engine", "rundlet.registry")


def modules_after(code):
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    loaded = modules_after(f"from rundlet.cli.main import run\nrun({arguments!r})")
    assert not loaded & set(HEAVY)


def test_no_grpc_when_nobody_listens(tmp_path):
    arguments = ["-r", f"unix://{tmp_path}/none.sock", "version"]
    loaded = modules_after(f"from rundlet.cli.main import run\nrun({arguments!r})")
    assert "grpc" not in loaded


def test_the_client_does_not_load_the_engine(tmp_path):
    assert not modules_after("import rundlet.cri.client") & {
        "rundlet.engine",
        "rundlet.store",
        "rundlet.registry",
    }
