"""Device rules on version 1, played through a model of the kernel's list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.plan.device_rules import list_v1, read_rules
from rundlet.plan.resources import plan_resources
from rundlet.spec.json import convert
from rundlet.spec.runtime import DeviceRule, Resources
from tests.plan.device_model import ACCESS, REQUESTS, RULES, is_allowed


def devices(*rules):
    return [
        (file.removeprefix("devices."), value)
        for _, file, value in plan_resources(convert({"devices": list(rules)}, Resources, "resources"), 1)
    ]


def test_device_rules_keep_their_order_and_the_defaults_come_last():
    found = devices(
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    )
    assert found[:2] == [("deny", "a *:* rwm"), ("allow", "c 10:229 rw")]
    assert ("allow", "c 1:3 rwm") in found[2:]
    assert ("allow", "c 136:* rwm") in found[2:]
    assert all(file == "allow" for file, _ in found[1:])


def test_no_device_rules_leave_the_parents_access():
    assert devices() == []


def test_rules_start_from_nothing():
    found = devices({"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"})
    assert found[:2] == [("deny", "a *:* rwm"), ("allow", "c 10:229 rw")]


def test_a_narrow_rule_for_all_types_is_split():
    assert devices({"allow": False, "type": "a", "access": "m"})[1:3] == [
        ("deny", "b *:* m"),
        ("deny", "c *:* m"),
    ]
    assert devices({"allow": True, "type": "a", "major": 8, "minor": -1})[1] == ("allow", "b 8:* rwm")


def test_what_a_later_rule_settles_is_left_out():
    assert devices({"allow": False}, {"allow": True, "type": "b", "major": 8}, {"allow": True})[0] == (
        "allow",
        "a *:* rwm",
    )


@pytest.mark.parametrize(
    "rule", [{"type": "x"}, {"type": "c", "access": "rx"}, {"type": "c", "major": 1 << 32}]
)
def test_bad_device_rules_are_refused(rule):
    with pytest.raises(InvalidArgument):
        devices({"allow": True, **rule})


def test_a_hole_in_a_wildcard_is_refused_and_not_forgotten():
    with pytest.raises(InvalidArgument, match="c 8:1 cannot be taken out of c 8:*"):
        devices(
            {"allow": False},
            {"allow": True, "type": "c", "major": 8, "access": "rw"},
            {"allow": False, "type": "c", "major": 8, "minor": 1, "access": "w"},
        )


def test_a_wildcard_takes_back_each_device_that_was_named():
    found = devices(
        {"allow": False},
        {"allow": True, "type": "c", "major": 8, "minor": 1, "access": "rw"},
        {"allow": False, "type": "c", "major": 8, "access": "w"},
    )
    assert ("deny", "c 8:1 w") in found


class KernelList:
    """security/device_cgroup.c: devcgroup_update_access and __devcgroup_check_permission."""

    def __init__(self):
        self.default = True
        self.exceptions = {}

    def write(self, file, value):
        allow = file == "devices.allow"
        device, access = value.rsplit(" ", 1)
        if device.startswith("a"):
            self.default, self.exceptions = allow, {}
        elif allow == self.default:
            self.exceptions[device] = self.exceptions.get(device, frozenset()) - set(access)
        else:
            self.exceptions[device] = self.exceptions.get(device, frozenset()) | set(access)

    def allows(self, kind, major, minor, access):
        names = {f"{kind} {a}:{b}" for a in (major, "*") for b in (minor, "*")}
        found = [self.exceptions.get(name, frozenset()) for name in names]
        if self.default:
            return not any(access in item for item in found)
        return any(access in item for item in found)


@given(RULES, REQUESTS)
def test_the_kernels_list_decides_as_the_last_rule_that_names_the_device(raw, request_):
    kind, major, minor, _ = request_
    given_rules = [DeviceRule(**rule) for rule in raw]
    try:
        writes = list(list_v1(read_rules(given_rules)))
    except InvalidArgument as error:
        assert "no holes" in str(error)
        return
    kernel = KernelList()
    for file, value in writes:
        kernel.write(file, value)
    for access in ACCESS:
        if raw:
            assert kernel.allows(kind, major, minor, access) == is_allowed(raw, kind, major, minor, access)


@given(st.lists(st.sampled_from([(8, 0), (8, 1), (9, 0)]), unique=True))
def test_named_devices_alone_never_make_holes(numbers):
    rules = [DeviceRule(allow=False, access="rwm")]
    rules += [DeviceRule(allow=True, type="b", major=major, minor=minor) for major, minor in numbers]
    rules += [DeviceRule(allow=False, type="b", major=major, minor=minor) for major, minor in numbers]
    assert list(list_v1(read_rules(rules)))
