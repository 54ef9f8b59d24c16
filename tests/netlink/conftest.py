"""Kernel tests here each run in a network namespace of their own."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rundlet.kernel.namespace import CLONE_NEWNET, setns, unshare


@pytest.fixture
def fresh_netns() -> Iterator[None]:
    """This process in a new network namespace, and back at the end."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    try:
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)


@pytest.fixture
def ask() -> Callable[..., Any]:
    """What a program of this host says in JSON: ask("ip", "-j", "link")."""

    def run(program: str, *arguments: str) -> Any:
        if shutil.which(program) is None:
            pytest.skip(f"{program} not on this host")
        done = subprocess.run([program, *arguments], check=True, capture_output=True, text=True)
        return json.loads(done.stdout or "[]")

    return run
