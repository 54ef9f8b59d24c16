"""Copies beside skopeo, and how soon a local image is shown: whole processes, in turns.

    python -m benchmarks.copy [--rounds 5]      inside a throw-away node (root), half a minute

    copy       docker:// → oci:, the 118 MB image of 5 layers of `unpack`, from Debian's
               docker-registry on loopback into an empty layout; `copy_image` is the same call
               from a Python that runs already, so what is more is starting one
    inspect    `rundlet image inspect` of an image in the store

All directories are on tmpfs.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.alone import Times, run_alone
from benchmarks.unpack import (
    LAYERS,
    list_host_files,
    make_image,
    run_registry,
    show,
    take_turns,
    time_s,
    write_host_layer,
)
from rundlet.archive.tree import remove_tree
from rundlet.image.api import Host, copy_image
from rundlet.image.layout import Layout
from rundlet.kernel.mount import mount, umount

# The most that ours may take of skopeo's time, and for showing a local image.
COPY_RATIO = 0.8
INSPECT_MS = 120.0
IMAGE = [sys.executable, "-m", "rundlet.cli.main", "image", "--insecure-policy"]


def copying(argv: list[str], target: str) -> Callable[[], float]:
    """Seconds of a process that writes the layout at `target`, which is removed afterwards."""

    def run() -> float:
        elapsed_s = time_s(lambda: subprocess.run(argv, check=True, capture_output=True))
        remove_tree(target)
        return elapsed_s

    return run


def list_copies(host: Host, source: str, target: str) -> dict[str, Callable[[], float]]:
    """Each way to copy `source` into a layout at `target`."""
    arguments = ["-q", "--src-tls-verify=false", source, f"oci:{target}:1"]
    jobs = {"rundlet image copy": copying([*IMAGE, "copy", *arguments], target)}
    if shutil.which("skopeo"):
        jobs["skopeo copy"] = copying(["skopeo", "--insecure-policy", "copy", *arguments], target)

    def copy_here() -> float:
        elapsed_s = time_s(lambda: copy_image(host, source, f"oci:{target}:1"))
        remove_tree(target)
        return elapsed_s

    return jobs | {"copy_image": copy_here}


def measure_copy(directory: str, rounds: int) -> dict[str, Times]:
    """Both, on a tmpfs at `directory`."""
    os.makedirs(directory, exist_ok=True)
    mount("tmpfs", directory, "tmpfs")
    try:
        paths = list_host_files()
        layout = Layout(f"{directory}/layout")
        make_image(layout, "large", [lambda layer: write_host_layer(layer, paths)] * LAYERS)
        make_image(layout, "small", [lambda layer: write_host_layer(layer, iter(["/etc/passwd"]))])
        with run_registry(directory) as address:
            source = f"docker://{address}/bench/large:1"
            with Host(f"{directory}/root", f"{directory}/run", insecure_policy=True) as host:
                copy_image(host, f"oci:{directory}/layout:large", source)
                copy_image(host, f"oci:{directory}/layout:small", "containers-storage:localhost/small:1")
                copies = take_turns(rounds, list_copies(host, source, f"{directory}/target"))
        inspect = [*IMAGE, "--root", f"{directory}/root", "--run-root", f"{directory}/run", "inspect"]
        inspects = take_turns(
            4 * rounds,
            {"rundlet image inspect": copying([*inspect, "localhost/small:1"], f"{directory}/none")},
        )
        return {"copy": copies, "inspect": inspects}
    finally:
        umount(directory)


def show_copy(times: dict[str, Times]) -> None:
    print()
    show("docker:// to oci:, 118 MB", times["copy"], "skopeo copy", COPY_RATIO)
    found_ms = 1000 * statistics.median(times["inspect"]["rundlet image inspect"])
    verdict = "reached" if found_ms <= INSPECT_MS else "MISSED"
    print(f"rundlet image inspect, local: {found_ms:.0f} ms, expected at most {INSPECT_MS:.0f}: {verdict}")


if __name__ == "__main__":
    run_alone("copy", __doc__, measure_copy, show_copy)
