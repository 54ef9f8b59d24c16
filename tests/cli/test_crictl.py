"""Beside the real crictl on the same runtime: what a script reads must be the same."""

import json
import os
import shutil
import subprocess

import pytest
import yaml

pytestmark = pytest.mark.differential

CRICTL = shutil.which("crictl") or os.path.expanduser("~/go/bin/crictl")
if not os.access(CRICTL, os.X_OK):
    pytest.skip("crictl not on this host", allow_module_level=True)


@pytest.fixture
def crictl(shelf, tmp_path):
    config = tmp_path / "crictl.yaml"
    config.write_text("timeout: 10\n")

    def call(*arguments):
        argv = [CRICTL, "-c", str(config), "-r", shelf.endpoint, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    return call


TEXT = [
    "version",
    "runtime-config",
    "pods",
    "pods -q",
    "pods --no-trunc",
    "pods -v",
    "pods --state ready",
    "pods --name ^web$",
    "pods --namespace default -q",
    "pods --label group=test",
    "pods --latest -q",
    "pods --last 1",
    "pods --id b2",
    "ps",
    "ps -a",
    "ps -a -q",
    "ps -a -v",
    "ps -a --no-trunc",
    "ps -a -r",
    "ps --state exited",
    "ps --pod b2 -a",
    "ps -a --name new",
    "ps -a --namespace redhat",
    "ps --latest",
    "ps -n 2",
    "ps -a --image quay.io/crio/redis:latest",
    "images",
    "images -q",
    "images -v",
    "images --digests",
    "images --digests --pinned --no-trunc",
    "images -f dangling=true",
    "images quay.io/crio/redis:alpine",
    "inspect -q -o table c3",
    "inspect -q -o table d4",
    "inspect -q -o table e5",
    "inspecti -q -o table 7676",
    "imagefsinfo -o table",
    "pull redis",
]


@pytest.mark.parametrize("command", TEXT)
def test_text(command, rundlet, crictl):
    theirs, ours = crictl(*command.split()), rundlet(*command.split())
    assert ours.lines == theirs.stdout.splitlines()
    assert (ours.code, theirs.returncode) == (0, 0)


CHANGES = ["start e5e5", "stop c3c3", "stopp a1a1", "rm -f c3c3", "rm d4", "rmp b2", "rmp -f a1", "rmi 7676"]


@pytest.mark.parametrize("command", CHANGES)
def test_text_of_changes(command, rundlet, crictl, shelf, tmp_path):
    theirs = crictl(*command.split())
    shelf.__init__(tmp_path / "redis.log")
    assert rundlet(*command.split()).stdout == theirs.stdout


DOCUMENTS = [
    "info",
    "info -q",
    "pods",
    "ps -a",
    "images",
    "inspectp a1",
    "inspectp -q a1",
    "inspectp a1 b2",
    "inspect c3",
    "inspect -q d4",
    "inspect -q e5",
    "inspect c3 d4 e5",
    "inspecti 7676",
    "imagefsinfo",
    "stats",
    "statsp",
]


def without_new_fields(ours, theirs):
    """Our proto is newer than this crictl: fields that it does not know are not compared."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: without_new_fields(ours[key], theirs[key]) for key in ours if key in theirs}
    if isinstance(ours, list) and isinstance(theirs, list):
        return [without_new_fields(*pair) for pair in zip(ours, theirs, strict=True)]
    return ours


@pytest.mark.parametrize("output", ["json", "yaml"])
@pytest.mark.parametrize("command", DOCUMENTS)
def test_documents(command, output, rundlet, crictl, shelf):
    name, *rest = command.split()
    arguments = [name, "-o", output, *rest]
    load = json.loads if output == "json" else yaml.safe_load
    theirs = load(crictl(*arguments).stdout)
    shelf.usage_ns = 0
    # 1.37 renamed this enum value; the number is the same
    ours = load(rundlet(*arguments).stdout.replace("SIGNAL_RUNTIME_DEFAULT", "RUNTIME_DEFAULT"))
    assert without_new_fields(ours, theirs) == theirs
