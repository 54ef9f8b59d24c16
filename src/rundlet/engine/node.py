"""Whether this node can run containers: the conditions that a kubelet asks for."""

import os
import platform
import sys

import rundlet
from rundlet.engine.parts import Parts
from rundlet.engine.status import Condition, HandlerStatus, NodeStatus
from rundlet.spec.json import encode

# mount_setattr(2) with AT_RECURSIVE, which recursive read-only mounts need.
_RECURSIVE_READONLY_SINCE = (5, 12)


def read_node_status(parts: Parts) -> NodeStatus:
    """Conditions RuntimeReady and NetworkReady, and what the runtime handlers can do."""
    network = parts.network.status()
    conditions = (
        Condition("RuntimeReady", status=True, reason="", message=""),
        Condition("NetworkReady", status=network.ready, reason=network.reason, message=network.message),
    )
    readonly = _kernel_version() >= _RECURSIVE_READONLY_SINCE
    names = ("", parts.settings.default_runtime_handler)
    handlers = tuple(HandlerStatus(name, readonly, user_namespaces=False) for name in names)
    info = {"config": encode(parts.settings).decode(), "host": encode(_describe_host(parts)).decode()}
    return NodeStatus(conditions, handlers, supplemental_groups_policy=True, info=info)


def _kernel_version() -> tuple[int, int]:
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int(minor.partition("-")[0])


def _describe_host(parts: Parts) -> dict[str, object]:
    return {
        "rundletVersion": rundlet.__version__,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "python": platform.python_version(),
        "executable": sys.executable,
        "cgroupVersion": parts.layout.version,
        "apparmor": parts.host.apparmor,
        "pods": len(parts.pods.list()),
        "containers": len(parts.containers.list()),
    }
