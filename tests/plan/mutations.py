"""A configuration with every field of the specification, and ways to break it."""

import copy
from typing import Any

from hypothesis import strategies as st

FULL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "domainname": "example.org",
    "annotations": {"org.example": "x"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1m", "tmpcopyup"]},
        {"destination": "/v", "source": "/srv", "type": "none",
         "options": ["rbind", "rro", "ridmap", "rslave"],
         "uidMappings": [{"containerID": 0, "hostID": 5, "size": 3}],
         "gidMappings": [{"containerID": 0, "hostID": 5, "size": 3}]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/v", "type": "bind", "source": "none", "options": ["bind", "remount", "ro"]},
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "cwd": "/",
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "A=b"],
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
        "capabilities": {kind: ["CAP_CHOWN", "CAP_KILL"]
                         for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "noNewPrivileges": True,
        "apparmorProfile": "profile",
        "selinuxLabel": "system_u:system_r:x_t:s0",
        "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3,
                      "flags": ["SCHED_FLAG_RECLAIM"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-3,7", "final": "1"},
    },
    "hooks": {kind: [{"path": "/bin/hook", "args": ["hook", "x"], "env": ["A=b"], "timeout": 3}]
              for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")},
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time")],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 65536}],
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 6}, "boottime": {"secs": -7}},
        "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
        "netDevices": {"eth7": {"name": "inside0"}},
        "cgroupsPath": "/x/y",
        "intelRdt": {"closID": "group", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "enableMonitoring": True},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "5"},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "listenerMetadata": "x",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]},
        "rootfsPropagation": "shared",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:x_t:s0",
        "personality": {"domain": "LINUX32"},
    },
}  # fmt: skip

_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 66), 1 << 66),
    st.sampled_from([-1, 0, 1, 0xFFFFFFFF, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1]),
    st.text(max_size=20),
    st.sampled_from(["", "/", "..", "/..", "a\0b", "/dev", "../../etc", "a=b,c:d\\", "rbind", "idmap", "remount", "/\n"]),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, whole: dict[str, Any] = FULL) -> dict[str, Any]:
    """The full configuration with one to three things replaced, removed, doubled or added."""
    config = copy.deepcopy(whole)
    paths = _paths(config)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths))
        parent = _follow(config, path[:-1])
        if parent is None or not _has(parent, path[-1]):
            continue
        match draw(st.sampled_from(["replace", "replace", "remove", "double", "add"])):
            case "replace":
                parent[path[-1]] = draw(_JUNK)
            case "remove":
                del parent[path[-1]]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            case _ if isinstance(parent, dict):
                parent[draw(st.text(max_size=5))] = draw(_JUNK)
    return config


def _follow(config: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        if not _has(config, key):
            return None
        config = config[key]
    return config


def _has(value: Any, key: Any) -> bool:
    return (isinstance(value, dict) and key in value) or (
        isinstance(value, list) and isinstance(key, int) and key < len(value)
    )
