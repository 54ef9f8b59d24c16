"""What the host gives an ordinary user, and what is advised."""

import errno
from typing import Any

import pytest

from rundlet.rootless.facts import Finding, HostFacts, judge, read_facts
from rundlet.rootless.subid import Range
from tests.rootless.conftest import User

GOOD = HostFacts(
    uid=1000,
    name="anna",
    sysctls={"user.max_user_namespaces": "100", "net.ipv4.ip_unprivileged_port_start": "1024"},
    subuids=(Range(100000, 65536),),
    subgids=(Range(100000, 65536),),
    programs={"newuidmap": "/bin/newuidmap", "newgidmap": "/bin/newgidmap", "pasta": "/bin/pasta"},
    probes={"user": 0, "overlay": 0, "proc": 0, "network": 0},
    tun_is_open=True,
    controllers=("cpu", "memory"),
)


def find(facts: HostFacts, name: str) -> Finding:
    return next(finding for finding in judge(facts) if finding.name == name)


def test_a_good_host_needs_no_advice() -> None:
    assert {finding.level for finding in judge(GOOD)} == {"ok"}
    assert not any(finding.hint for finding in judge(GOOD))


@pytest.mark.parametrize(
    ("changed", "name", "level", "hint"),
    [
        ({"probes": {"user": errno.EPERM}, "sysctls": {"kernel.unprivileged_userns_clone": "0"}},
         "user namespaces", "fault", "sysctl kernel.unprivileged_userns_clone=1"),
        ({"probes": {"user": errno.EACCES}, "sysctls": {"kernel.apparmor_restrict_unprivileged_userns": "1"}},
         "user namespaces", "fault", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
        ({"probes": {"user": -1}, "sysctls": {}}, "user namespaces", "fault", "container or sandbox"),
        ({"subuids": ()}, "ids", "warning", "anna:100000:65536"),
        ({"programs": {}}, "ids", "warning", "install uidmap"),
        ({"programs": {}}, "network", "warning", "slirp4netns"),
        ({"tun_is_open": False}, "network", "warning", "/dev/net/tun"),
        ({"probes": {"user": 0, "overlay": errno.EPERM}}, "overlay", "fault", "5.11"),
        ({"probes": {"user": 0, "proc": errno.EPERM}}, "/proc", "fault", "unmask"),
        ({"controllers": ()}, "cgroups", "warning", "Delegate=yes"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_what_to_do(
    changed: dict[str, Any], name: str, level: str, hint: str
) -> None:
    finding = find(GOOD._replace(**changed), name)
    assert finding.level == level
    assert hint in finding.hint


def test_the_facts_of_this_host_can_be_read() -> None:
    facts = read_facts()
    assert set(facts.programs) >= {"newuidmap", "slirp4netns", "pasta"}
    assert "user" in facts.probes
    assert len(judge(facts)) == 6


@pytest.mark.kernel
def test_what_the_probes_say_of_a_user_is_so(user: User) -> None:
    program = """
from rundlet.rootless.facts import read_facts
os.environ["PYTHONPATH"] = sys.path[0]
facts = read_facts()
tell([facts.uid, dict(facts.probes)])
"""
    assert user.run(program) == [[12345, {"user": 0, "overlay": 0, "network": 0, "proc": 0}]]
