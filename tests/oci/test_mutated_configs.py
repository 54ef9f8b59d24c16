"""Configurations changed at random: an error of one line or a container that runs, and nothing left behind either way."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oci.runtime import Runtime, find_ours, make_config, write_config

pytestmark = [pytest.mark.kernel]

# The deep profile runs the 5 000 of the release check; every example starts a process.
EXAMPLES = 5000 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 25

WORDS = [
    "", "/", "..", "../..", "/proc", "/proc/self/exe", "/dev/null", "/etc/passwd", "/nosuch", "nosuch", "\0", "é\ud800",
    "a" * 300, "bind", "tmpfs", "rbind", "ro", "size=-1", "mode=99999", "user", "time", "cgroup", "CAP_NOSUCH",
    "SCMP_ACT_KILL", "RLIMIT_NOSUCH", "rshared", "-1", "%s", "\n", "/sys/fs/cgroup", "PATH", "=x", "1.0.2", "2.0.0",
]  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [-1, 0, 1, 7, 65536, 1 << 31, 1 << 32, (1 << 32) - 1, 1 << 63, 1 << 64, -(1 << 63), 10**30]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(WORDS), max_size=3),
)
EXTRAS: dict[str, Any] = {
    "hooks": {"createRuntime": [{"path": "/bin/true", "timeout": 1}], "poststop": [{"path": "/bin/true"}]},
    "domainname": "domain",
    "annotations": {"a": "b"},
}
LINUX_EXTRAS: dict[str, Any] = {
    "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0}],
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
         "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}]}]},
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "rootfsPropagation": "rslave",
    "personality": {"domain": "LINUX"},
    "timeOffsets": {"boottime": {"secs": 5}},
    "resources": {"memory": {"limit": 1 << 27, "swap": 1 << 28}, "cpu": {"shares": 100, "quota": 10000, "period": 50000},
                  "pids": {"limit": 40}, "devices": [{"allow": False, "access": "rwm", "type": "a"}]},
}  # fmt: skip
PROCESS_EXTRAS: dict[str, Any] = {
    "consoleSize": {"height": 10, "width": 20},
    "oomScoreAdj": 100,
    "scheduler": {"policy": "SCHED_OTHER", "nice": 3},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0"},
}


def full_config() -> dict[str, Any]:
    config = make_config("true")
    config.update(copy.deepcopy(EXTRAS))
    config["linux"].update(copy.deepcopy(LINUX_EXTRAS))
    config["process"].update(copy.deepcopy(PROCESS_EXTRAS))
    config["linux"].pop("uidMappings")
    return config


def list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every member of every object and list, at any depth."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    places = [(*path, key) for key in keys]
    return places + [place for key in keys for place in list_places(value[key], (*path, key))]


PLACES = list_places(full_config())


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """One to three places replaced, removed or doubled."""
    config = full_config()
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        _mutate(
            config, place, draw(st.sampled_from(["replace", "replace", "remove", "double"])), draw(VALUES)
        )
    return config


def _mutate(config: Any, place: tuple[Any, ...], how: str, value: Any) -> None:
    *above, last = place
    try:
        for key in above:
            config = config[key]
        if how == "remove":
            del config[last]
        elif how == "double" and isinstance(config, list):
            config.append(config[last])
        else:
            config[last] = value
    except (KeyError, IndexError, TypeError):
        pass  # an earlier mutation took the place away


def read_groups() -> set[str]:
    """Names of the control groups there are, in the hierarchies that every container is in."""
    return {path for name in ("pids", "memory") for path, _, _ in os.walk(f"/sys/fs/cgroup/{name}")}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(find_ours(), tmp_path_factory.mktemp("mutated") / "state")


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(config=mutations())
def test_no_traceback_and_nothing_left(config: dict[str, Any], runtime: Runtime, shared_bundle: Path) -> None:
    write_config(shared_bundle, config)
    groups = read_groups()
    outcome = runtime("run", "--bundle", str(shared_bundle), "mutated", stdin="")
    assert "Traceback" not in outcome.stderr
    assert "fault of rundlet-runtime" not in outcome.stderr
    if outcome.code == 1 and "level=error" in outcome.stderr:
        assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    assert runtime.leftovers() == []
    assert read_groups() == groups


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{", b'"x"', b"[" * 100_000, b'{"ociVersion": 1}', b"\xff", b"1" * 10_000]
)
def test_what_is_no_configuration(raw: bytes, runtime: Runtime, shared_bundle: Path) -> None:
    (shared_bundle / "config.json").write_bytes(raw)
    outcome = runtime("create", "--bundle", str(shared_bundle), "mutated")
    assert outcome.code == 1
    assert "config.json" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert runtime.leftovers() == []
