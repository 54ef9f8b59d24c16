"""Broken configurations on the real kernel: an error of rundlet's, and nothing half made."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rundlet.errors import Error, Internal, Unavailable
from rundlet.keeper.client import Keeper
from rundlet.spec.json import convert
from rundlet.spec.runtime import RuntimeConfig
from tests.keeper.bundle import plan
from tests.plan.mutations import mutated

pytestmark = pytest.mark.kernel

WORKING: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1m"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
        {"destination": "/v", "source": "rootfs", "type": "none", "options": ["rbind", "rro", "rslave"]},
    ],
    "process": {
        "cwd": "/",
        "args": ["true"],
        "env": ["PATH=/bin"],
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 30, "hard": 40}],
        "noNewPrivileges": True,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    },
    "hooks": {"createContainer": [{"path": "/bin/true", "timeout": 2}]},
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user", "time")],
        "uidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
        "timeOffsets": {"monotonic": {"secs": 5}},
        "devices": [{"type": "c", "path": "/dev/zero", "major": 1, "minor": 5}],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "rootfsPropagation": "rslave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    },
}


def test_the_configuration_works_before_it_is_broken(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", convert(WORKING, RuntimeConfig, "config.json"), bundle))
    keeper.start("c")
    record = keeper.wait("c", 10)
    assert record is not None
    assert record.exit_code == 0


@settings(
    max_examples=max(60, settings.default.max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(config=mutated(WORKING))
def test_broken_configurations_leave_nothing(keeper: Keeper, bundle: Path, config: dict[str, Any]) -> None:
    try:
        keeper.create(plan("c", convert(config, RuntimeConfig, "config.json"), bundle))
    except Error as error:
        assert not isinstance(error, Internal | Unavailable)
        assert "\n" not in error.message
    else:
        keeper.delete("c")
    assert keeper.list() == {}
    directory = f"{keeper.run_root}/keeper/containers"
    assert not os.path.isdir(directory) or os.listdir(directory) == []
