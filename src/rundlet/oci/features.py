"""`features`: what this runtime does on this host (features.md), read from the tables that do it."""

import os
import sys

from rundlet.kernel import mempolicy
from rundlet.kernel.capability import NAMES
from rundlet.kernel.lsm import read_security_modules
from rundlet.kernel.namespace import KINDS
from rundlet.oci import json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.plan.mounts import option_names
from rundlet.plan.seccomp import ABIS, ACTIONS, FLAGS, OPERATORS

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features(_context: Context, _: Arguments) -> int:
    sys.stdout.write(json.write_pretty(describe_features()) + "\n")
    return 0


def describe_features() -> dict[str, object]:
    """The document; what depends on the kernel is asked of the kernel."""
    modules = read_security_modules()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": _HOOKS,
        "mountOptions": option_names(),
        "linux": {
            "namespaces": sorted(KINDS),
            "capabilities": NAMES,
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": sorted(ABIS),
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": {"enabled": "apparmor" in modules},
            "selinux": {"enabled": "selinux" in modules},
            "intelRdt": {"enabled": os.path.isdir("/sys/fs/resctrl/info")},
            "memoryPolicy": {"modes": sorted(mempolicy.MODES), "flags": sorted(mempolicy.FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"org.rundlet.runtime": "rundlet-runtime"},
        "potentiallyUnsafeConfigAnnotations": [],
    }
