"""CDI: devices by name, edits in order, and what is not there."""

import json

import pytest

from rundlet.engine.cdi import apply_edits, find_edits
from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.settings import Settings
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.spec.cdi import parse_device_name
from rundlet.spec.runtime import Linux, Process, RuntimeConfig

SPEC = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/null",
    "containerEdits": {"env": ["FROM=file"], "mounts": None},
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["FROM=device"],
                "deviceNodes": [{"path": "/dev/vendor0", "hostPath": "/dev/null", "permissions": "rw"}],
                "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/etc/vendor"}],
                "additionalGids": [44, 44],
                "hooks": [{"hookName": "createRuntime", "path": "/bin/true", "timeout": 5}],
            },
        },
        {"name": "two"},
    ],
}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "vendor.json").write_text(json.dumps(SPEC))
    (tmp_path / "README").write_text("not a device")
    return str(tmp_path)


def test_names():
    assert parse_device_name("vendor.com/net=eth0:1") == ("vendor.com/net", "eth0:1")
    for text in ("", "vendor=x", "vendor.com/net", "vendor.com/net=", "a/b=c d", "../x/y=z"):
        with pytest.raises(InvalidArgument):
            parse_device_name(text)


def test_edits_of_the_file_come_once_and_first(directory):
    edits = find_edits(["vendor.com/null=one", "vendor.com/null=two"], [directory])
    assert [edit.env for edit in edits] == [("FROM=file",), ("FROM=device",), ()]


def test_edits_are_applied(directory):
    plain = RuntimeConfig(oci_version="1.2.0", process=Process(cwd="/", args=["x"]), linux=Linux())
    config = apply_edits(plain, find_edits(["vendor.com/null=one"], [directory]))
    assert config.process.env == ["FROM=file", "FROM=device"]
    assert config.process.user.additional_gids == [44]
    (node,) = config.linux.devices
    assert (node.path, node.type, node.major, node.minor) == ("/dev/vendor0", "c", 1, 3)
    (rule,) = config.linux.resources.devices
    assert (rule.allow, rule.major, rule.minor, rule.access) == (True, 1, 3, "rw")
    assert config.mounts[0].destination == "/etc/vendor"
    assert config.hooks.create_runtime[0].timeout == 5


def test_what_is_not_there(directory, tmp_path):
    for name in ("vendor.com/null=three", "other.com/x=one"):
        with pytest.raises(NotFound):
            find_edits([name], [directory, str(tmp_path / "absent")])


@pytest.mark.parametrize("text", ["{", "[]", '{"cdiVersion": 1, "kind": "a/b"}', "a: [b", "\x00"])
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(InvalidArgument, match=r"broken\.yaml"):
        find_edits(["vendor.com/null=one"], [str(tmp_path)])


def test_a_node_that_is_no_device(tmp_path):
    device = {"name": "one", "containerEdits": {"deviceNodes": [{"path": "/etc/passwd"}]}}
    (tmp_path / "v.json").write_text(
        json.dumps({"cdiVersion": "0.6.0", "kind": "v.com/x", "devices": [device]})
    )
    plain = RuntimeConfig(oci_version="1.2.0", linux=Linux())
    with pytest.raises(FailedPrecondition):
        apply_edits(plain, find_edits(["v.com/x=one"], [str(tmp_path)]))


@pytest.fixture
def settings(settings: Settings, directory: str) -> Settings:
    from msgspec.structs import replace

    return replace(settings, cdi_dirs=(directory,))


@pytest.mark.kernel
def test_a_container_gets_its_device(engine: Engine, image: str):
    pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n"))
    options = ContainerOptions(
        name="c", image=image, command=("sleep", "100"), cdi_devices=("vendor.com/null=one",)
    )
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    script = "echo x >/dev/vendor0 && ls -l /dev/vendor0; echo $FROM; id -G; cat /etc/vendor"
    words = engine.containers.exec_sync(container, ["sh", "-c", script], 10).stdout.decode().split()
    assert "device" in words
    assert "44" in words
    assert words[0].startswith("c")
