"""Containers of people beside podman: whole processes, in turns.

    python -m benchmarks.local [--rounds 10]      inside a throw-away node (root), about a minute

    run     `run --rm --network none IMAGE true`
    exec    `exec CONTAINER true`
    ps      `ps` with 50 running containers (`LISTED`)

Both have the same image of this machine's busybox, and their stores on one tmpfs.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from benchmarks.alone import Times, run_alone
from benchmarks.unpack import show, take_turns, time_s
from rundlet.kernel.mount import mount, umount

RUN_RATIO, EXEC_RATIO, PS_RATIO = 0.4, 0.4, 0.5
LISTED = 50
IMAGE = "localhost/tools:1"
QUIET = ("--network", "none")
MAIN = (sys.executable, "-m", "rundlet.cli.main")
# podman 4.3 on cgroup v1 without systemd.
PODMAN_PLACE = ("--cgroup-manager", "cgroupfs", "--events-backend", "file")


def make_programs(directory: str) -> dict[str, Sequence[str]]:
    """The beginning of each engine's command lines."""
    places = {"ROOT": "root", "RUN_ROOT": "run", "CONFIG_DIR": "config"}
    os.environ.update({f"RUNDLET_{name}": f"{directory}/{place}" for name, place in places.items()})
    programs: dict[str, Sequence[str]] = {"rundlet": MAIN}
    if shutil.which("podman"):
        place = ("--root", f"{directory}/podman", "--runroot", f"{directory}/podman-run")
        programs["podman"] = ("podman", *place, "--tmpdir", f"{directory}/podman-tmp", *PODMAN_PLACE)
    return programs


def call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def load_image(directory: str, programs: dict[str, Sequence[str]]) -> None:
    archive = f"{directory}/tools.tar"
    call(*MAIN, "image", "from-host", "-t", f"oci-archive:{archive}:{IMAGE}", "true", "sleep")
    for program in programs.values():
        call(*program, "load", "-i", archive)


def timed(program: Sequence[str], *words: str) -> Callable[[], float]:
    return lambda: time_s(lambda: call(*program, *words))


def measure_local(directory: str, rounds: int) -> dict[str, Times]:
    os.makedirs(directory, exist_ok=True)
    mount("tmpfs", directory, "tmpfs")
    programs = make_programs(directory)
    try:
        load_image(directory, programs)
        runs = take_turns(
            rounds, {name: timed(run, "run", "--rm", *QUIET, IMAGE, "true") for name, run in programs.items()}
        )
        for program in programs.values():
            for number in range(LISTED):
                call(*program, "run", "-d", "--name", f"c{number}", *QUIET, IMAGE, "sleep", "600")
        execs = take_turns(rounds, {name: timed(run, "exec", "c0", "true") for name, run in programs.items()})
        lists = take_turns(rounds, {name: timed(run, "ps") for name, run in programs.items()})
        return {"run": runs, "exec": execs, "ps": lists}
    finally:
        for program in programs.values():
            subprocess.run([*program, "rm", "-f", "-t", "0", "--all"], check=False, capture_output=True)
        umount(directory, 2)  # MNT_DETACH: what podman has mounted may linger


def show_local(times: dict[str, Times]) -> None:
    print()
    show("run --rm IMAGE true", times["run"], "podman", RUN_RATIO)
    show("exec CONTAINER true", times["exec"], "podman", EXEC_RATIO)
    show(f"ps, {LISTED} containers", times["ps"], "podman", PS_RATIO)


if __name__ == "__main__":
    run_alone("local", __doc__, measure_local, show_local)
