"""Whether this node can run containers: the conditions that a kubelet asks for."""

import os
import platform
import sys

import rundlet
from rundlet.engine.parts import Parts
from rundlet.engine.status import Condition, HandlerStatus, NodeStatus
from rundlet.spec.json import encode


def read_node_status(parts: Parts) -> NodeStatus:
    """Conditions RuntimeReady and NetworkReady, and what the runtime handlers can do."""
    network = parts.network.status()
    conditions = (
        Condition("RuntimeReady", status=True, reason="", message=""),
        Condition("NetworkReady", status=network.ready, reason=network.reason, message=network.message),
    )
    handlers = tuple(
        HandlerStatus(name, *parts.handlers.read_features(handler)) for name, handler in parts.handlers.list()
    )
    info = {"config": encode(parts.settings).decode(), "host": encode(_describe_host(parts)).decode()}
    return NodeStatus(
        conditions,
        handlers,
        supplemental_groups_policy=True,
        user_namespaces_host_network=False,  # engine.validate refuses them
        mount_options=True,
        info=info,
    )


def _describe_host(parts: Parts) -> dict[str, object]:
    return {
        "rundletVersion": rundlet.__version__,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "python": platform.python_version(),
        "executable": sys.executable,
        "cgroupVersion": parts.layout.version,
        "apparmor": parts.host.apparmor,
        "selinux": parts.host.selinux is not None,
        "pods": len(parts.pods.list()),
        "containers": len(parts.containers.list()),
    }
