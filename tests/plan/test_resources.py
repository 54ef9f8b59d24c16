import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.plan.resources import convert_block_weight, convert_shares, plan_resources
from rundlet.spec.json import convert
from rundlet.spec.runtime import Resources

MIB = 1 << 20


def plan(raw, version):
    """{file: value} of the writes; a file written twice has a list."""
    found = {}
    for _, file, value in plan_resources(convert(raw, Resources, "resources"), version):
        found.setdefault(file, []).append(value)
    return {file: values[0] if len(values) == 1 else values for file, values in found.items()}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("raw", [{}, {"cpu": {}, "memory": {}, "pids": {"limit": 0}, "blockIO": {}}])
def test_nothing_asked_for_is_nothing_written(raw, version):
    assert plan(raw, version) == {}


# (resources, version 1, version 2)
TABLE = {
    "cpu": (
        {"cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 1000}},
        {
            "cpu.shares": "1024",
            "cpu.cfs_period_us": "100000",
            "cpu.cfs_quota_us": "50000",
            "cpu.cfs_burst_us": "1000",
        },
        {"cpu.weight": "100", "cpu.max": "50000 100000", "cpu.max.burst": "1000"},
    ),
    "quota alone": (
        {"cpu": {"quota": 20000}},
        {"cpu.cfs_quota_us": "20000"},
        {"cpu.max": "20000 100000"},
    ),
    "quota lifted": (
        {"cpu": {"quota": -1, "period": 50000}},
        {"cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "-1"},
        {"cpu.max": "max 50000"},
    ),
    "idle takes no shares": ({"cpu": {"idle": 1, "shares": 2}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    "cpuset": (
        {"cpu": {"cpus": "0-1", "mems": "0"}},
        {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
        {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
    ),
    "memory": (
        {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB}},
        {
            "memory.limit_in_bytes": str(64 * MIB),
            "memory.memsw.limit_in_bytes": str(96 * MIB),
            "memory.soft_limit_in_bytes": str(32 * MIB),
        },
        {
            "memory.swap.max": str(32 * MIB),
            "memory.max": str(64 * MIB),
            "memory.low": str(32 * MIB),
        },
    ),
    "no swap": (
        {"memory": {"limit": MIB, "swap": MIB}},
        {"memory.limit_in_bytes": str(MIB), "memory.memsw.limit_in_bytes": str(MIB)},
        {"memory.swap.max": "0", "memory.max": str(MIB)},
    ),
    "memory lifted lifts swap": (
        {"memory": {"limit": -1}},
        {"memory.limit_in_bytes": "-1", "memory.memsw.limit_in_bytes": "-1"},
        {"memory.swap.max": "max", "memory.max": "max"},
    ),
    "swap lifted": (
        {"memory": {"limit": MIB, "swap": -1}},
        {"memory.limit_in_bytes": str(MIB), "memory.memsw.limit_in_bytes": "-1"},
        {"memory.swap.max": "max", "memory.max": str(MIB)},
    ),
    "pids": ({"pids": {"limit": 7}}, {"pids.max": "7"}, {"pids.max": "7"}),
    "pids lifted": ({"pids": {"limit": -1}}, {"pids.max": "max"}, {"pids.max": "max"}),
    "huge pages": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        {
            "hugetlb.2MB.limit_in_bytes": str(4 * MIB),
            "hugetlb.2MB.rsvd.limit_in_bytes": str(4 * MIB),
        },
        {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)},
    ),
    "rdma": (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 9}}},
        {"rdma.max": "mlx5_1 hca_handle=3 hca_object=9"},
        {"rdma.max": "mlx5_1 hca_handle=3 hca_object=9"},
    ),
    "block weight": (
        {"blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}]}},
        {
            "blkio.bfq.weight": "10",
            "blkio.bfq.weight_device": "8:0 1000",
            "blkio.weight": "10",
            "blkio.weight_device": "8:0 1000",
        },
        {"io.bfq.weight": ["10", "8:0 1000"], "io.weight": ["1", "8:0 10000"]},
    ),
    "throttles": (
        {
            "blockIO": {
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
            }
        },
        {
            "blkio.throttle.read_bps_device": "8:0 100",
            "blkio.throttle.write_iops_device": "8:16 0",
        },
        {"io.max": ["8:0 rbps=100", "8:16 wiops=max"]},
    ),
}


@pytest.mark.parametrize(("raw", "v1", "v2"), TABLE.values(), ids=TABLE.keys())
def test_conversions(raw, v1, v2):
    assert plan(raw, 1) == v1
    assert plan(raw, 2) == v2


def test_controllers_name_the_hierarchy():
    raw = {"cpu": {"shares": 5, "cpus": "0"}, "blockIO": {"weight": 10}, "unified": None}
    writes = plan_resources(convert(raw, Resources, "resources"), 1)
    assert {write.controller for write in writes} == {"cpu", "cpuset", "blkio"}


def test_version_1_alone():
    raw = {
        "memory": {"swappiness": 0, "disableOOMKiller": True, "kernelTCP": 4096},
        "cpu": {"realtimeRuntime": 5, "realtimePeriod": 10},
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
    }
    assert plan(raw, 1) == {
        "memory.swappiness": "0",
        "memory.oom_control": "1",
        "memory.kmem.tcp.limit_in_bytes": "4096",
        "cpu.rt_runtime_us": "5",
        "cpu.rt_period_us": "10",
        "net_cls.classid": "1048577",
        "net_prio.ifpriomap": "eth0 5",
    }


@pytest.mark.parametrize(
    "raw",
    [
        {"memory": {"swappiness": 5}},
        {"memory": {"disableOOMKiller": True}},
        {"memory": {"kernelTCP": 4096}},
        {"cpu": {"realtimeRuntime": 5}},
    ],
)
def test_what_version_2_cannot_express_is_no_silent_promise(raw):
    with pytest.raises(FailedPrecondition):
        plan(raw, 2)


def test_unified_keys_are_version_2s_own():
    raw = {"unified": {"memory.high": "1000", "cgroup.max.depth": "3"}}
    assert plan_resources(convert(raw, Resources, "resources"), 2) == (
        ("memory", "memory.high", "1000"),
        ("", "cgroup.max.depth", "3"),
    )
    with pytest.raises(FailedPrecondition):
        plan(raw, 1)


BAD = {
    "swap below memory": {"memory": {"limit": 2 * MIB, "swap": MIB}},
    "swap without memory": {"memory": {"limit": -1, "swap": MIB}},
    "page size": {"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]},
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
def test_values_that_make_no_sense_are_refused(raw, version):
    with pytest.raises(InvalidArgument):
        plan(raw, version)


@pytest.mark.parametrize("key", ["../memory.max", "memory/max", "", ".", "memory max"])
def test_a_unified_key_is_a_file_name_only(key):
    with pytest.raises(InvalidArgument):
        plan({"unified": {key: "1"}}, 2)


def test_swappiness_range():
    with pytest.raises(InvalidArgument):
        plan({"memory": {"swappiness": 101}}, 1)


# -- curves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (2, 1), (1024, 100), (262144, 10000), (10**6, 10000), (512, 59)]
)
def test_shares_pass_through_the_known_points(shares, weight):
    assert convert_shares(shares) == weight


@given(st.integers(2, 262143))
def test_more_shares_never_weigh_less(shares):
    assert 1 <= convert_shares(shares) <= convert_shares(shares + 1) <= 10000


@pytest.mark.parametrize(("old", "new"), [(10, 1), (1000, 10000), (500, 4950)])
def test_block_weights(old, new):
    assert convert_block_weight(old) == new
