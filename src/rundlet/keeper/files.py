"""The small files by which a supervisor tells its successor what it must know."""

import json
import os
from typing import Any


def write_json(path: str, value: object) -> None:
    """Atomically: the whole of it or nothing is read back."""
    fresh = f"{path}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(value).encode())
    finally:
        os.close(fd)
    os.rename(fresh, path)


def read_json(path: str) -> Any:
    """What `write_json` wrote; None when it is not there."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None


def remove_tree(directory: str) -> None:
    """A flat directory with all in it; nothing to do when it is gone."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        os.unlink(f"{directory}/{name}")
    os.rmdir(directory)


def remove_empty(directory: str) -> None:
    """rmdir(2), when it is there."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
