"""Hooks on the real kernel: order, namespaces, state, failures and times."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import FailedPrecondition, NotFound, Unavailable
from rundlet.keeper.client import Keeper
from rundlet.plan.container import Hook
from rundlet.runtime.hooks import Group, run_hooks
from rundlet.spec import runtime as spec
from tests.keeper.bundle import config, plan
from tests.runtime.configs import in_user_namespace, own_tree

pytestmark = pytest.mark.kernel

KINDS = ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop")


@pytest.fixture
def script(tmp_path: Path, bundle: Path) -> Path:
    """Writes its name, namespaces and state to the bundle's journal; the same path leads to it inside the rootfs."""
    journal = bundle / "journal"
    journal.mkdir()
    path = tmp_path / "hook"
    path.write_text(
        f"""#!/bin/sh
n=$(ls {journal} | grep -c .)
{{ echo "$1"; readlink /proc/self/ns/mnt; readlink /proc/self/ns/net; pwd; cat; }} >{journal}/$n-$1
[ -n "$FAIL" ] && {{ echo "it broke" >&2; exit 3; }}
exit 0
"""
    )
    path.chmod(0o755)
    return path


def hook(path: Path | str, name: str, **fields: Any) -> spec.Hook:
    return spec.Hook(str(path), [str(path), name], **{"env": ["PATH=/bin:/usr/bin"], **fields})


def read_journal(bundle: Path) -> dict[str, list[str]]:
    """Lines by hook, in the order they ran."""
    entries = sorted((bundle / "journal").iterdir(), key=lambda path: int(path.name.split("-")[0]))
    return {path.name.split("-")[1]: path.read_text().splitlines() for path in entries}


def with_hooks(configuration: spec.RuntimeConfig, **hooks: list[spec.Hook]) -> spec.RuntimeConfig:
    return configuration.replace(hooks=spec.Hooks(**hooks), annotations={"org.example": "yes"})


def inside(bundle: Path, script: Path) -> spec.Hook:
    """The same script for startContainer, which has only the container's files."""
    (bundle / "rootfs/hook").write_text("#!/bin/sh\ncat >/tmp/state\n")
    (bundle / "rootfs/hook").chmod(0o755)
    return spec.Hook("/hook", ["/hook"], ["PATH=/bin"])


def test_all_kinds_in_order_with_their_state(keeper: Keeper, bundle: Path, script: Path) -> None:
    hooks = {kind: [hook(script, kind)] for kind in KINDS}
    hooks["start_container"] = [inside(bundle, script)]
    hooks["prestart"].append(hook(script, "second"))
    pid = keeper.create(plan("c", with_hooks(config("sleep", "100"), **hooks), bundle))
    assert list(read_journal(bundle)) == ["prestart", "second", "create_runtime", "create_container"]
    assert not (bundle / "rootfs/tmp/state").exists()
    container_mnt = os.readlink(f"/proc/{pid}/ns/mnt")
    keeper.start("c")
    keeper.delete("c")
    journal = read_journal(bundle)
    assert list(journal)[4:] == ["poststart", "poststop"]
    for kind, lines in journal.items():
        mnt, net, cwd, *state = lines[1:]
        document = json.loads("".join(state))
        is_inside = kind == "create_container"
        assert (mnt == os.readlink("/proc/self/ns/mnt")) is not is_inside
        assert (mnt == container_mnt) is is_inside
        assert (net == os.readlink("/proc/self/ns/net")) is not is_inside
        assert cwd == str(bundle)
        assert document["id"] == "c"
        assert document["bundle"] == str(bundle)
        assert document["annotations"] == {"org.example": "yes"}
        assert document["ociVersion"] == "1.2.0"
        expected = {"poststart": ("running", pid), "poststop": ("stopped", None)}
        status, number = expected.get(kind, ("creating", 1 if is_inside else pid))
        assert (document["status"], document.get("pid")) == (status, number)
    state = json.loads((bundle / "rootfs/tmp/state").read_text())
    assert (state["status"], state["pid"]) == ("created", 1)


@pytest.mark.parametrize("kind", ["prestart", "create_runtime", "create_container"])
def test_one_that_fails_ends_the_creation(keeper: Keeper, bundle: Path, script: Path, kind: str) -> None:
    broken = hook(script, kind, env=["PATH=/bin:/usr/bin", "FAIL=1"])
    configuration = with_hooks(
        config("true"), **{kind: [broken, hook(script, "never")]}, poststop=[hook(script, "poststop")]
    )
    camel = kind.split("_", maxsplit=1)[0] + "".join(map(str.capitalize, kind.split("_")[1:]))
    with pytest.raises(FailedPrecondition, match=rf"hooks\.{camel}\[0\] .*exit code 3: it broke"):
        keeper.create(plan("c", configuration, bundle))
    with pytest.raises(NotFound):
        keeper.state("c")
    while "poststop" not in read_journal(bundle):
        keeper.list()
    assert list(read_journal(bundle)) == [kind, "poststop"]
    keeper.create(plan("c", config("true"), bundle))


def test_start_container_that_fails_stops_the_container(keeper: Keeper, bundle: Path) -> None:
    configuration = with_hooks(config("true"), start_container=[spec.Hook("/bin/false", ["false"])])
    keeper.create(plan("c", configuration, bundle))
    with pytest.raises(FailedPrecondition, match=r"hooks\.startContainer\[0\]"):
        keeper.start("c")
    assert keeper.wait("c", 10) is not None


def test_poststart_that_fails_stops_the_container(keeper: Keeper, bundle: Path, script: Path) -> None:
    broken = hook(script, "poststart", env=["PATH=/bin:/usr/bin", "FAIL=1"])
    keeper.create(plan("c", with_hooks(config("sleep", "100"), poststart=[broken]), bundle))
    with pytest.raises(FailedPrecondition, match=r"hooks\.poststart\[0\]"):
        keeper.start("c")
    record = keeper.wait("c", 10)
    assert record is not None
    assert record.signal == 9


def test_poststop_that_fails_is_only_a_warning(keeper: Keeper, bundle: Path, script: Path) -> None:
    broken = hook(script, "poststop", env=["PATH=/bin:/usr/bin", "FAIL=1"])
    keeper.create(plan("c", with_hooks(config("true"), poststop=[broken, hook(script, "next")]), bundle))
    keeper.delete("c")
    assert list(read_journal(bundle)) == ["poststop", "next"]


def test_one_that_takes_too_long_is_killed(keeper: Keeper, bundle: Path) -> None:
    slow = spec.Hook("/bin/sh", ["sh", "-c", "sleep 77 & sleep 77"], timeout=1)
    with pytest.raises(FailedPrecondition, match=r"hooks\.createRuntime\[0\] .*did not end in 1 s"):
        keeper.create(plan("c", with_hooks(config("true"), create_runtime=[slow]), bundle))


def test_the_keeper_answers_while_a_hook_runs(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    import threading

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting = spec.Hook("/bin/sh", ["sh", "-c", f"cat {fifo}"], ["PATH=/bin:/usr/bin"])
    creation = threading.Thread(
        target=keeper.create, args=(plan("c", with_hooks(config("true"), create_runtime=[waiting]), bundle),)
    )
    creation.start()
    writer = os.open(fifo, os.O_WRONLY)  # until the hook reads
    keeper.create(plan("other", config("true"), bundle))
    os.close(writer)
    creation.join(10)
    assert keeper.state("c").status == "created"


def test_a_hook_has_only_its_stdio_and_environment(tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = f"ls /proc/self/fd >{output}; env >>{output}; grep SigIgn /proc/self/status >>{output}"
    run_hooks(
        [Group("poststart", [Hook("/bin/sh", ("sh", "-c", words), ("A=1", "PATH=/bin:/usr/bin"))])],
        {"bundle": "/"},
    )
    lines = output.read_text().splitlines()
    assert lines[:4] == ["0", "1", "2", "3"]  # and the directory that ls reads
    assert "A=1" in lines
    assert not any(line.startswith("HOME=") for line in lines)
    assert lines[-1].split()[1] == "0" * 16


def test_a_missing_program_is_named() -> None:
    with pytest.raises(FailedPrecondition, match=r"hooks\.prestart\[0\] \(/no/such\).*cannot be executed"):
        run_hooks([Group("prestart", [Hook("/no/such", ("x",), ())])], {"bundle": "/"})


def test_hooks_around_a_user_namespace(keeper: Keeper, bundle: Path, script: Path) -> None:
    own_tree(bundle / "rootfs", 200_000)
    hooks = {"create_runtime": [hook(script, "create_runtime")], "poststop": [hook(script, "poststop")]}
    pid = keeper.create(plan("c", with_hooks(in_user_namespace("true"), **hooks), bundle))
    keeper.delete("c")
    journal = read_journal(bundle)
    assert list(journal) == ["create_runtime", "poststop"]
    assert json.loads(journal["create_runtime"][-1])["pid"] == pid


def delete_again_and_again(keeper: Keeper) -> None:
    """Until there is a new supervisor."""
    while True:
        try:
            keeper.delete("c")
        except Unavailable:
            continue
        return


def test_poststop_runs_although_the_supervisor_was_replaced(
    keeper: Keeper, bundle: Path, script: Path
) -> None:
    keeper.create(plan("c", with_hooks(config("sleep", "100"), poststop=[hook(script, "poststop")]), bundle))
    keeper.start("c")
    supervisor = keeper.call("version", {}).message["pid"]
    os.kill(supervisor, 9)
    delete_again_and_again(keeper)
    assert list(read_journal(bundle)) == ["poststop"]
