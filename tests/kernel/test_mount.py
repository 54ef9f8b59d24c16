"""Mount calls of the new kind, each tried in a mount namespace that ends with its program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PROLOGUE = """
import os, sys
from rundlet.kernel import mount as m, namespace
namespace.unshare(namespace.CLONE_NEWNS)
m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
top = sys.argv[1]
"""


def run(code: str, directory: Path) -> str:
    argv = [sys.executable, "-c", PROLOGUE + code, str(directory)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_a_file_system_is_configured_and_mounted_by_descriptor(tmp_path: Path) -> None:
    code = """
context = m.fsopen("tmpfs")
m.fsconfig(context, m.FSCONFIG_SET_STRING, "size", "64k")
m.fsconfig(context, m.FSCONFIG_CMD_CREATE)
tree = m.fsmount(context, m.MOUNT_ATTR_NOSUID)
m.move_mount(tree, os.open(top, os.O_PATH))
print([line.split()[1:4] for line in open("/proc/mounts")][-1])
"""
    found = run(code, tmp_path)
    assert str(tmp_path) in found
    assert "nosuid" in found
    assert "size=64k" in found
    assert os.listdir(tmp_path) == []


def test_a_refused_option_comes_with_the_kernels_reason(tmp_path: Path) -> None:
    code = """
context = m.fsopen("tmpfs")
try:
    m.fsconfig(context, m.FSCONFIG_SET_STRING, "nonsense", "1")
except OSError as error:
    print(error.filename)
"""
    assert run(code, tmp_path).startswith("nonsense: tmpfs: ")


def test_attributes_of_a_detached_tree(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    code = """
tree = m.open_tree(f"{top}/source")
m.mount_setattr(tree, set_attrs=m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOEXEC)
m.move_mount(tree, os.open(f"{top}/target", os.O_PATH))
try:
    os.mkdir(f"{top}/target/x")
except OSError as error:
    print(error.errno)
"""
    assert run(code, tmp_path) == "30"


def test_the_error_names_the_path(tmp_path: Path) -> None:
    code = """
try:
    m.open_tree(f"{top}/missing")
except FileNotFoundError as error:
    print(error.filename)
"""
    assert run(code, tmp_path) == f"{tmp_path}/missing"
