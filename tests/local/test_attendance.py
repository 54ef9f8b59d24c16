"""Containers that the process which started them sees to itself."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from msgspec import json
from msgspec.structs import replace

from rundlet.local.machine import Machine
from rundlet.local.options import RunOptions
from rundlet.local.settings import MachineSettings
from tests.local.test_minder import find_minders, leaves, wait_until

__all__ = ["leaves"]

pytestmark = pytest.mark.kernel

_START_AND_DIE = """
import os, signal, sys
from msgspec import json
from rundlet.local.machine import Machine
from rundlet.local.options import RunOptions
from rundlet.local.settings import MachineSettings
machine = Machine(json.decode(sys.argv[1], type=MachineSettings), attends=True)
print(machine.containers.run(json.decode(sys.argv[2], type=RunOptions)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def pod_state(machine: Machine, container_id: str) -> Callable[[], str]:
    pod_id = machine.engine.containers.status(container_id).pod_id
    return lambda: machine.engine.pods.status(pod_id).state


def test_the_network_is_let_go_at_the_end_and_no_minder_was_needed(
    machine_settings: MachineSettings, machine: Machine, asked: RunOptions
) -> None:
    with Machine(machine_settings, attends=True) as own:
        container_id = own.containers.run(replace(asked, command=("true",)))
        assert own.containers.wait(container_id, 10) == 0
        state = pod_state(machine, container_id)
        wait_until(lambda: state() == "notready")
        assert not find_minders(machine)
    assert not find_minders(machine)


def test_the_exit_code_of_a_container_that_removes_itself_is_not_lost(
    machine_settings: MachineSettings, machine: Machine, asked: RunOptions
) -> None:
    with Machine(machine_settings, attends=True) as own:
        for code in range(3):
            options = replace(asked, command=("sh", "-c", f"exit {code}"), remove=True)
            container_id = own.containers.run(options)
            wait_until(lambda: not machine.engine.pods.list())
            assert own.containers.wait(container_id, 10) == code
    assert not find_minders(machine)


def test_a_minder_takes_over_from_who_lets_go(
    machine_settings: MachineSettings, machine: Machine, asked: RunOptions
) -> None:
    with Machine(machine_settings, attends=True) as own:
        container_id = own.containers.run(asked)
        assert not find_minders(machine)
    wait_until(lambda: find_minders(machine))
    state = pod_state(machine, container_id)
    machine.containers.kill(container_id)
    wait_until(lambda: state() == "notready")


def test_a_minder_takes_over_from_who_was_killed(
    machine_settings: MachineSettings, machine: Machine, asked: RunOptions
) -> None:
    machine.engine.images.pull(asked.image)
    given = [json.encode(one).decode() for one in (machine_settings, replace(asked, remove=True))]
    done = subprocess.run(
        [sys.executable, "-c", _START_AND_DIE, *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    machine.containers.kill(done.stdout.strip())
    wait_until(lambda: not machine.engine.pods.list())
