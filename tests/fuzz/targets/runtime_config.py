"""config.json of the runtime-spec: read, planned, described, sent to the keeper and read there."""

import json

from rundlet.plan.container import decode_plan, encode_plan, read_outline
from rundlet.plan.planner import Host, plan_container
from rundlet.spec.json import decode, encode
from rundlet.spec.runtime import RuntimeConfig
from tests.fuzz.mutation import of_json
from tests.fuzz.target import again
from tests.plan.mutations import FULL

_SMALL = {
    "ociVersion": "1.0.0",
    "root": {"path": "/"},
    "process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": "mount"}]},
}
_HOST = Host(-1, {"memory": "/sys/fs/cgroup/memory/x", "cpu": "/cg/cpu/x"}, ("apparmor", "selinux"))
SEEDS = (json.dumps(FULL).encode(), json.dumps(_SMALL).encode())
MUTATE = of_json(
    "bind rbind tmpfs proc sysfs cgroup mqueue ro idmap remount size=-1 mode=9 user time network /proc/self/ns/net"
    " SCMP_ACT_KILL CAP_ALL RLIMIT_NOSUCH rshared SCHED_FIFO IOPRIO_CLASS_RT MPOL_BIND 0-3,9 net.x kernel.shmmax"
)


def check(data: bytes) -> None:
    config = decode(data, RuntimeConfig, "config.json")
    assert again(decode, encode(config), RuntimeConfig, "config.json") == config
    plan = plan_container("c", config, _HOST, bundle="/bundle")
    assert all("\n" not in line or "\\n" in line for line in plan.describe() if line.isprintable())
    wire = json.loads(json.dumps(encode_plan(plan)))
    assert decode_plan(wire) == plan
    assert read_outline(wire).container_id == "c"
