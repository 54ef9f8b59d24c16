"""`features`: what this runtime does (features.md), read from the tables that do it.

What the kernel of this host lacks counts as supported all the same (features-linux.md):
engines ask whether a configuration is understood.
"""

import sys

from rundlet import __version__
from rundlet.kernel import mempolicy
from rundlet.kernel.capability import NAMES
from rundlet.kernel.namespace import KINDS
from rundlet.oci import json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.plan.mounts import option_names
from rundlet.plan.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

SPEC_VERSION = "1.3.0"  # the newest that is understood
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features(_context: Context, _: Arguments) -> int:
    sys.stdout.write(json.write_pretty(describe_features()) + "\n")
    return 0


def describe_features() -> dict[str, object]:
    """The document, with all that the specification 1.3 has and runc's annotations where they fit."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
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
                "archs": sorted(ARCHITECTURES),
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(mempolicy.MODES), "flags": sorted(mempolicy.FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "org.rundlet.runtime": "rundlet-runtime",
            "org.rundlet.version": __version__,
            "org.rundlet.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config"],
    }
