import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.plan.knobs import UNIT
from rundlet.plan.unit import encode_cpus, plan_unit
from rundlet.spec.json import convert
from rundlet.spec.runtime import Resources

INFINITY = (1 << 64) - 1
MIB = 1 << 20


def plan(raw, version):
    writes = plan_unit(convert(raw, Resources, "resources"), version)
    assert all(controller == UNIT for controller, _, _ in writes)
    return {name: tuple(json.loads(value)) for _, name, value in writes}


# (resources, version 1, version 2)
TABLE = {
    "nothing": ({}, {}, {}),
    "memory": (
        {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB}},
        {"MemoryLimit": ("t", 64 * MIB)},
        {"MemoryMax": ("t", 64 * MIB), "MemoryLow": ("t", 32 * MIB), "MemorySwapMax": ("t", 32 * MIB)},
    ),
    "memory lifted": (
        {"memory": {"limit": -1}},
        {"MemoryLimit": ("t", INFINITY)},
        {"MemoryMax": ("t", INFINITY), "MemorySwapMax": ("t", INFINITY)},
    ),
    "pids": ({"pids": {"limit": 7}}, {"TasksMax": ("t", 7)}, {"TasksMax": ("t", 7)}),
    "pids lifted": ({"pids": {"limit": -1}}, {"TasksMax": ("t", INFINITY)}, {"TasksMax": ("t", INFINITY)}),
    "cpu": (
        {"cpu": {"shares": 1024, "quota": 50000, "period": 100000}},
        {
            "CPUShares": ("t", 1024),
            "CPUQuotaPeriodUSec": ("t", 100000),
            "CPUQuotaPerSecUSec": ("t", 500000),
        },
        {
            "CPUWeight": ("t", 100),
            "CPUQuotaPeriodUSec": ("t", 100000),
            "CPUQuotaPerSecUSec": ("t", 500000),
        },
    ),
    "quota rounded up": (
        {"cpu": {"quota": 33333, "period": 100000}},
        {"CPUQuotaPeriodUSec": ("t", 100000), "CPUQuotaPerSecUSec": ("t", 340000)},
        {"CPUQuotaPeriodUSec": ("t", 100000), "CPUQuotaPerSecUSec": ("t", 340000)},
    ),
    "quota lifted": (
        {"cpu": {"quota": -1}},
        {"CPUQuotaPerSecUSec": ("t", INFINITY)},
        {"CPUQuotaPeriodUSec": ("t", 100000), "CPUQuotaPerSecUSec": ("t", INFINITY)},
    ),
    "idle": ({"cpu": {"idle": 1}}, {}, {"CPUWeight": ("t", 0)}),
    "cpuset": (
        {"cpu": {"cpus": "0-1,9", "mems": "0"}},
        {},
        {"AllowedCPUs": ("ay", [3, 2]), "AllowedMemoryNodes": ("ay", [1])},
    ),
    "block weight": (
        {"blockIO": {"weight": 10}},
        {"BlockIOWeight": ("t", 10)},
        {"IOWeight": ("t", 1)},
    ),
}


@pytest.mark.parametrize(("raw", "v1", "v2"), TABLE.values(), ids=TABLE.keys())
def test_properties(raw, v1, v2):
    assert plan(raw, 1) == v1
    assert plan(raw, 2) == v2


def test_raw_keys_that_systemd_has_a_property_for_are_told_to_it():
    raw = {"unified": {"memory.high": "4096", "cpu.max": "20000 50000", "memory.oom.group": "1"}}
    assert plan(raw, 2) == {
        "MemoryHigh": ("t", 4096),
        "CPUQuotaPeriodUSec": ("t", 50000),
        "CPUQuotaPerSecUSec": ("t", 400000),
    }
    with pytest.raises(FailedPrecondition):
        plan(raw, 1)


def test_plain_device_lists_are_strict():
    found = plan({"devices": [{"allow": False}, {"allow": True, "type": "b", "major": 8, "access": "r"}]}, 2)
    assert found["DevicePolicy"] == ("s", "strict")
    signature, entries = found["DeviceAllow"]
    assert signature == "a(ss)"
    for entry in (["block-8", "r"], ["char-*", "m"], ["/dev/char/1:3", "rwm"], ["char-136", "rwm"]):
        assert entry in entries


@pytest.mark.parametrize(
    "rules",
    [
        [{"allow": True}],
        [{"allow": True}, {"allow": False, "type": "b", "major": 8, "minor": 0}],
        [{"allow": True, "type": "c", "minor": 3}],
    ],
    ids=["everything", "a denial", "a minor number alone"],
)
def test_what_systemd_cannot_say_is_left_to_the_groups_own_rules(rules):
    found = plan({"devices": rules}, 2)
    assert found == {"DevicePolicy": ("s", "auto"), "DeviceAllow": ("a(ss)", [])}


def test_limits_with_a_unit():
    assert plan({"unified": {"memory.max": "2M", "pids.max": "max"}}, 2) == {
        "MemoryMax": ("t", 2 * MIB),
        "TasksMax": ("t", INFINITY),
    }


KEYS = ["memory.max", "pids.max", "cpu.max", "cpu.weight", "io.weight", "cpuset.cpus", "cpu.idle", "x.y"]
WORDS = st.one_of(st.text(max_size=6), st.from_regex(r"(max|[0-9]{1,25})[ KG,-]?[0-9]{0,8}", fullmatch=True))


@given(st.dictionaries(st.sampled_from(KEYS), WORDS))
def test_raw_values_are_taken_or_refused(unified):
    try:
        writes = plan_unit(Resources(unified=unified), 2)
    except InvalidArgument:
        return
    for write in writes:
        signature, value = json.loads(write.value)
        assert signature != "t" or 0 <= value <= INFINITY


@given(st.sets(st.integers(0, 300)))
def test_masks_have_the_bits_of_the_list(cpus):
    mask = int.from_bytes(encode_cpus(",".join(map(str, cpus))), "little")
    assert {bit for bit in range(301) if mask >> bit & 1} == cpus


@pytest.mark.parametrize("text", ["x", "3-1", "1-", "-1", "99999999", "0-99999999", "٣"])
def test_bad_lists_of_cpus(text):
    with pytest.raises(InvalidArgument):
        encode_cpus(text)
