"""Facts of this machine as podman's `info` has them."""

import os
from typing import TYPE_CHECKING, Any

import rundlet
from rundlet.cli.local.context import local_containers
from rundlet.kernel.lsm import read_security_modules
from rundlet.kernel.namespace import in_user_namespace
from rundlet.spec.descriptor import host_platform

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_KIB = 1024


def describe_machine(machine: "Machine") -> dict[str, Any]:
    """The parts of podman's document that are meant here."""
    return {
        "host": _describe_host(machine),
        "plugins": {
            "volume": ["local"],
            "network": ["bridge", "macvlan"],
            "log": ["k8s-file", "none"],
            "authorization": None,
        },
        "store": _describe_store(machine),
        "version": {
            "Version": rundlet.__version__,
            "OsArch": f"linux/{host_platform().architecture}",
            "Os": "linux",
        },
    }


def _describe_host(machine: "Machine") -> dict[str, Any]:
    from rundlet.cgroup.layout import detect_layout

    layout = detect_layout()
    kernel = os.uname()
    memory = _read_pairs("/proc/meminfo")
    release = _read_release()
    with open("/proc/uptime", encoding="ascii") as file:
        uptime_s = float(file.read().split()[0])
    return {
        "arch": host_platform().architecture,
        "cgroupControllers": sorted(name for name in layout.mounts if name and "=" not in name),
        "cgroupManager": machine.settings.engine.cgroup_driver,
        "cgroupVersion": f"v{layout.version}",
        "cpus": os.cpu_count(),
        "distribution": {
            "codename": release.get("VERSION_CODENAME", ""),
            "distribution": release.get("ID", ""),
            "version": release.get("VERSION_ID", ""),
        },
        "eventLogger": "file",
        "hostname": kernel.nodename,
        "idMappings": {"uidmap": _read_map("uid_map"), "gidmap": _read_map("gid_map")},
        "kernel": kernel.release,
        "linkmode": "python",
        "logDriver": "k8s-file",
        "memFree": memory.get("MemAvailable", 0),
        "memTotal": memory.get("MemTotal", 0),
        "networkBackend": "cni",
        "ociRuntime": {"name": "rundlet", "version": rundlet.__version__},
        "os": "linux",
        "security": _describe_security(),
        "serviceIsRemote": False,
        "swapFree": memory.get("SwapFree", 0),
        "swapTotal": memory.get("SwapTotal", 0),
        "uptime": f"{uptime_s // 3600:.0f}h {uptime_s % 3600 // 60:.0f}m {uptime_s % 60:.2f}s",
    }


def _describe_security() -> dict[str, Any]:
    from rundlet.engine.capabilities import DEFAULT

    modules = read_security_modules()
    return {
        "apparmorEnabled": "apparmor" in modules,
        "capabilities": ",".join(sorted(DEFAULT)),
        "rootless": in_user_namespace(),
        "seccompEnabled": True,
        "selinuxEnabled": "selinux" in modules,
    }


def _describe_store(machine: "Machine") -> dict[str, Any]:
    states = [found.state for found in local_containers(machine)]
    places = machine.settings.places
    space = os.statvfs(places.root)
    return {
        "configDir": places.config_dir,
        "containerStore": {
            "number": len(states),
            **{state: states.count(state) for state in ("paused", "running")},
            "stopped": len(states) - states.count("paused") - states.count("running"),
        },
        "graphDriverName": "overlay",
        "graphRoot": places.root,
        "graphRootAllocated": space.f_blocks * space.f_frsize,
        "graphRootUsed": (space.f_blocks - space.f_bfree) * space.f_frsize,
        "imageStore": {"number": len(machine.engine.images.list())},
        "runRoot": places.run_root,
        "volumePath": f"{places.root}/volumes",
    }


def _read_pairs(path: str) -> dict[str, int]:
    """meminfo's values in bytes."""
    with open(path, encoding="ascii") as file:
        rows = (line.split() for line in file)
        return {row[0].rstrip(":"): int(row[1]) * _KIB for row in rows if row[2:] == ["kB"]}


def _read_release() -> dict[str, str]:
    """os-release(5); empty where there is none."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            pairs = (line.strip().partition("=") for line in file)
            return {name: value.strip('"') for name, equals, value in pairs if equals}
    except OSError:
        return {}


def _read_map(name: str) -> list[dict[str, int]] | None:
    """None for who has all ids of the host."""
    if not in_user_namespace():
        return None
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        rows = (map(int, line.split()) for line in file)
        return [
            {"container_id": inside, "host_id": outside, "size": count} for inside, outside, count in rows
        ]
