"""Configurations changed at random: an error of one line or a container that runs, and nothing left behind either way.

Each example is the real command line on the real kernel.  `make test` does a few, `nox -s deep` 5 000.
"""

import copy
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from rundlet.oci.containers import read_start_time
from tests.oci.runtime import Outcome, Runtime, find_ours, make_config, write_config

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

# Every example starts two or three processes.  Rounds are for two workers, and for whoever has a minute only.
IS_DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
ROUNDS, EXAMPLES = (20, 250) if IS_DEEP else (1, 25)

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
    """One to three places replaced, removed, doubled, or given what belongs elsewhere."""
    config = full_config()
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        how = draw(st.sampled_from(["replace", "replace", "remove", "double", "transplant"]))
        value = (
            _look_up(full_config(), draw(st.sampled_from(PLACES))) if how == "transplant" else draw(VALUES)
        )
        _mutate(config, place, how, value)
    return config


def _look_up(config: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        config = config[key]
    return config


def _mutate(config: Any, place: tuple[Any, ...], how: str, value: Any) -> None:
    *above, last = place
    try:
        config = _look_up(config, tuple(above))
        if how == "remove":
            del config[last]
        elif how == "double" and isinstance(config, list):
            config.append(config[last])
        else:
            config[last] = value
    except (KeyError, IndexError, TypeError):
        pass  # an earlier mutation took the place away


class Traces(NamedTuple):
    """What a container can leave on the machine."""

    groups: frozenset[str]
    mounts: tuple[str, ...]
    processes: frozenset[int]


def take_traces() -> Traces:
    """Of this node; a process that waits only for its parent is none."""
    groups = {path for name in ("pids", "memory") for path, _, _ in os.walk(f"/sys/fs/cgroup/{name}")}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = tuple(line.split()[4] for line in file)
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return Traces(frozenset(groups), mounts, frozenset(pid for pid in pids if read_start_time(pid)))


NOTHING = Traces(frozenset(), (), frozenset())


def new_traces(before: Traces) -> Traces:
    """What was not there before; what an earlier test left may go meanwhile."""
    now = take_traces()
    mounts = list(now.mounts)
    for path in before.mounts:
        if path in mounts:
            mounts.remove(path)
    return Traces(now.groups - before.groups, tuple(mounts), now.processes - before.processes)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(find_ours(), tmp_path_factory.mktemp("mutated") / "state")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_traceback_and_nothing_left(number: int, runtime: Runtime, shared_bundle: Path) -> None:
    @seed(number)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(config=mutations(), command=st.sampled_from(["run", "create"]))
    def check(config: dict[str, Any], command: str) -> None:
        write_config(shared_bundle, config)
        traces = take_traces()
        outcome = runtime(command, "--bundle", str(shared_bundle), "mutated", stdin="")
        check_words(outcome)
        if command == "create" and outcome.code == 0:
            check_words(runtime("start", "mutated"))
            runtime.ok("delete", "--force", "mutated")
        assert runtime.leftovers() == []
        assert new_traces(traces) == NOTHING

    check()


def check_words(outcome: Outcome) -> None:
    """One line that says what is wrong, and never that it is our own fault."""
    assert "Traceback" not in outcome.stderr
    assert "fault of rundlet-runtime" not in outcome.stderr
    if outcome.code == 1 and "level=error" in outcome.stderr:
        assert len(outcome.stderr.splitlines()) == 1, outcome.stderr


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
