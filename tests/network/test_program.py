import json
import os
import time

import pytest

from rundlet.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from rundlet.network.call import Attachment, Call
from rundlet.network.program import OUTPUT_MAX_BYTES, Program

RESULT = '{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.2/24"}]}'


@pytest.fixture
def plugin(tmp_path):
    """Write a plugin of shell lines; the Program that finds it."""

    def write(*lines, timeout_s=10.0):
        path = tmp_path / "bin" / "plug"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)
        return Program(("/nowhere", str(path.parent)), timeout_s=timeout_s)

    return write


def call(**changes):
    pod = Attachment(
        "pod1", "eth0", netns_path="/run/netns/x", args=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web"))
    )
    conf = {"cniVersion": "0.4.0", "name": "mynet", "type": "plug"}
    return Call("mynet", "0.4.0", "plug", conf, pod, None, None)._replace(**changes)


def test_plugin_gets_libcnis_environment_and_the_configuration(plugin, tmp_path):
    program = plugin(f"env > {tmp_path}/env", f"cat > {tmp_path}/conf", f"echo '{RESULT}'")

    result = program.add(call())

    assert [ip.address for ip in result.ips] == ["10.0.0.2/24"]
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert {key: value for key, value in seen.items() if key.startswith("CNI_")} == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "pod1",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
        "CNI_PATH": f"/nowhere:{tmp_path}/bin",
    }
    assert seen["PATH"] == os.environ["PATH"]
    assert json.loads((tmp_path / "conf").read_text()) == call().conf


def test_delete_needs_no_answer(plugin):
    plugin("exit 0").delete(call())


@pytest.mark.parametrize(
    ("code", "kind"),
    [(2, Unimplemented), (4, InvalidArgument), (7, InvalidArgument), (11, Unavailable), (999, Unavailable)],
)
def test_plugins_error_keeps_its_words(plugin, code, kind):
    error = json.dumps({"cniVersion": "0.4.0", "code": code, "msg": "no luck", "details": "at all"})

    with pytest.raises(kind) as caught:
        plugin(f"echo '{error}'", "exit 1").add(call())

    assert caught.value.message == f"network mynet: plugin plug: ADD: no luck: at all (CNI error {code})"


def test_plugin_that_dies_tells_what_it_said(plugin):
    with pytest.raises(Unavailable, match="ended with code 3: cannot go on"):
        plugin("echo cannot go on >&2", "exit 3").add(call())


def test_nonsense_is_no_result(plugin):
    with pytest.raises(InvalidArgument, match="plugin plug: result"):
        plugin("echo nonsense").add(call())


def test_plugin_that_hangs_is_killed_with_its_children(plugin, tmp_path):
    program = plugin(f"sleep 1000 & echo $! > {tmp_path}/child", "wait", timeout_s=0.3)
    began = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        program.add(call())

    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    wait_gone(child)


def test_plugin_that_hangs_without_output_is_killed(plugin):
    with pytest.raises(DeadlineExceeded):
        plugin("exec >&- 2>&-", "exec sleep 1000", timeout_s=0.3).add(call())


def test_plugin_that_cannot_be_run_is_told(plugin, tmp_path):
    program = plugin()
    (tmp_path / "bin" / "plug").write_text("#!/nothing/there\n")

    with pytest.raises(Unavailable, match="cannot run"):
        program.add(call())


def wait_gone(pid):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
    raise AssertionError(f"process {pid} is still there")


def test_endless_output_is_cut_off(plugin):
    with pytest.raises(ResourceExhausted, match=str(OUTPUT_MAX_BYTES)):
        plugin("exec cat /dev/zero").add(call())


def test_plugin_that_reads_nothing_cannot_block(plugin):
    big = call(conf={"name": "mynet", "padding": "x" * 200_000})

    assert plugin(f"echo '{RESULT}'").add(big).ips


def test_missing_plugin_is_named(plugin):
    with pytest.raises(FailedPrecondition, match="CNI plugin other is not in /nowhere, "):
        plugin("exit 0").add(call(type="other"))


def test_argument_that_would_become_two_is_refused(plugin):
    pod = Attachment("pod1", "eth0", args=(("K8S_POD_NAME", "a;K8S_POD_NAMESPACE=kube-system"),))

    with pytest.raises(InvalidArgument, match="K8S_POD_NAME"):
        plugin("exit 0").add(call(attachment=pod))
