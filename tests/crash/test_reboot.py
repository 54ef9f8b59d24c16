"""A reboot: nothing runs, the run root is empty, links, namespaces and cgroups are gone; disks are as they were."""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.engine.engine import Engine
from rundlet.engine.options import PodOptions
from tests.crash.engine_process import Ids
from tests.crash.scenes import create, find_scene, run_pod, start
from tests.crash.stage import Stage, kill

pytestmark = pytest.mark.kernel


def reboot(stage: Stage, pod_id: str) -> None:
    """As the kernel would: no process of ours, no mount, no link, no cgroup; another boot id for the records."""
    kill([stage.engine.pid, *stage.find_keeper()])
    stage.bury_engine()
    parent = f"{stage.settings.default_cgroup_parent}/{pod_id}"
    layout = detect_layout()
    for path in (f"{parent}/{pod_id}", *(f"{parent}/{name}" for name in list_containers(stage)), parent):
        group = Group(layout, path)
        group.kill()
        group.remove()
    for mount in sorted(list_mounts_below(stage.settings.run_root), reverse=True):
        subprocess.run(["umount", "-l", mount], check=True)
    shutil.rmtree(stage.settings.run_root)
    subprocess.run(["ip", "link", "delete", "cni0"], check=True)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    with sqlite3.connect(f"{stage.settings.root}/state.db") as connection:
        for table in ("pods", "containers"):
            connection.execute(f"UPDATE {table} SET facts = json_set(facts, '$.boot_id', 'the boot before')")
    connection.close()


def list_containers(stage: Stage) -> list[str]:
    return os.listdir(f"{stage.settings.run_root}/containers")


def list_mounts_below(directory: str) -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [path for line in file if (path := line.split()[4]).startswith(f"{directory}/")]


def see_what_is_told(engine: Engine, ids: Ids) -> None:
    assert engine.pods.status(ids["pod"]).state == "notready"
    ended = engine.containers.status(ids["c"])
    assert (ended.state, ended.exit_code, ended.reason) == ("exited", 255, "ContainerStatusUnknown")


def run_the_same_name_again(engine: Engine, ids: Ids) -> Ids:
    """A kubelet asks with the next attempt, for the same address and the same host port."""
    options = engine.pods.status(ids["pod"]).options
    again = PodOptions("p", "u", "n", 1, log_directory=ids["logs"], port_mappings=options.port_mappings)
    return {"again": engine.pods.run(again)}


def remove_both(engine: Engine, ids: Ids) -> None:
    for name in ("pod", "again"):
        engine.pods.remove(ids[name])


def test_after_a_reboot_all_has_ended_and_everything_can_be_made_anew(stage: Stage) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft not on this host")
    stage.list_points(find_scene("pod").acts)
    before = stage.take_traces()
    ids = dict(stage.fixed)
    for act in (run_pod, create, start):
        ids = stage.call(act, ids)
    leases = Path(stage.settings.cni_cache_dir)
    assert len(os.listdir(leases / "results")) == 1
    reboot(stage, ids["pod"])
    stage.call(see_what_is_told, ids)
    assert os.listdir(leases / "results") == []  # nobody waits for the pod to be removed
    ids = stage.call(run_the_same_name_again, ids)
    stage.call(remove_both, ids)
    assert stage.find_leftovers(before) == []
