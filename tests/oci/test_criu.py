"""What criu is asked for, and its protocol; tests/vm/checks/checkpoint.py runs the real one."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import DataLoss, InvalidArgument, NotFound
from rundlet.oci.arguments import Arguments, parse_arguments
from rundlet.oci.bundle import Bundle, read_config
from rundlet.oci.commands import COMMANDS
from rundlet.oci.containers import Record
from rundlet.oci.criu import Images, Job, plan_again, plan_dump, plan_restore, write_descriptors
from rundlet.oci.criu_protocol import Answer, decode_answer, encode_consent, encode_request
from rundlet.oci.criu_worker import read_last_errors
from rundlet.oci.json import write
from tests.oci.runtime import Change, make_config


def read_flags(command: str, *argv: str) -> Arguments:
    return parse_arguments([*argv, "box"], COMMANDS[command].flags, flags_first=False)


def make_bundle(change: Change | None = None) -> Bundle:
    raw = write(make_config("true", change=change)).encode()
    return Bundle("/bundle", raw, read_config(raw), "/bundle/rootfs")


def plan(command: str, tmp_path: Path, *argv: str, change: Change | None = None) -> Job:
    bundle = make_bundle(change)
    images = Images(str(tmp_path), str(tmp_path))
    container = plan_again("box", bundle.config, bundle.path, None)
    arguments = read_flags(command, *argv)
    if command == "restore":
        return plan_restore(container, bundle.config, arguments, images, {"": "/box"})
    record = Record("box", bundle.path, bundle.rootfs, "1.2.0", {}, 0, 0, pid=os.getpid())
    stdio = ["pipe:[5]", "tty[8801:14]", ""]
    return plan_dump(container, bundle.config, arguments, images, record, stdio, "/sys/fs/cgroup/box")


def add_hosts(config: dict[str, Any]) -> None:
    mount = {"destination": "/etc/hosts", "type": "bind", "source": "/run/hosts", "options": ["bind"]}
    config["mounts"].append(mount)


# -- the wire ------------------------------------------------------------------------


def test_a_request_is_protobuf() -> None:
    raw = encode_request(
        "dump", {"images_dir_fd": 7, "pid": 300, "log_file": "a", "inherit_fd": [("k", 1), ("l", 2)]}
    )
    inner = b"\x08\x07\x10\xac\x02R\x01a\xda\x01\x05\n\x01k\x10\x01\xda\x01\x05\n\x01l\x10\x02"
    assert raw == b"\x08\x01\x12" + bytes([len(inner)]) + inner
    assert encode_consent() == b"\x08\x06\x18\x01"
    assert encode_request("feature-check", {"mem_track": True}) == b"\x08\x09\x2a\x02\x08\x01"


def test_an_answer_is_read() -> None:
    notification = b"\x08\x06\x10\x01\x2a\x0a\x0a\x06resume\x10\x05"
    assert decode_answer(notification) == Answer("notify", True, "resume", 5)
    assert decode_answer(b"\x08\x02\x10\x01\x22\x03\x08\xac\x02") == Answer("restore", True, pid=300)
    assert decode_answer(b"\x08\x01\x10\x00\x38\x34\x4a\x01x") == Answer(
        "dump", False, errno=0x34, message="x"
    )


@given(raw=st.binary())
def test_what_is_no_answer_is_an_error_of_ours(raw: bytes) -> None:
    try:
        decode_answer(raw)
    except DataLoss:
        pass


# -- the plans -----------------------------------------------------------------------


def test_what_the_host_gives_is_named_and_given_again(tmp_path: Path) -> None:
    write_descriptors(["/dev/null", "pipe:[5]", "tty[8801:14]"], Images(str(tmp_path), str(tmp_path)))
    dump = plan("checkpoint", tmp_path, change=add_hosts)
    assert "mnt[/etc/hosts]:/etc/hosts" in dump.options["external"]
    assert "tty[8801:14]" not in dump.options["external"]
    assert "tty[8801:14]" in plan("checkpoint", tmp_path, "--shell-job").options["external"]
    restore = plan("restore", tmp_path, change=add_hosts)
    assert "mnt[/etc/hosts]:/run/hosts" in restore.options["external"]
    assert restore.inherited == {"pipe:[5]": 1}
    assert plan("restore", tmp_path, "--shell-job").inherited == {"pipe:[5]": 1, "tty[8801:14]": 2}
    assert restore.options["cg_root"] == [("", "/box")]
    assert restore.describe().startswith(f"criu restore in {tmp_path}: ")


def test_namespaces_by_path_are_left_out_and_joined(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"] = [
            {"type": "mount"},
            {"type": "uts"},
            {"type": "network", "path": "/proc/self/ns/net"},
            {"type": "ipc", "path": "/proc/self/ns/ipc"},
        ]

    write_descriptors(["", "", ""], Images(str(tmp_path), str(tmp_path)))
    inode = Path("/proc/self/ns/net").stat().st_ino
    assert f"net[{inode}]:extRootNetNS" in plan("checkpoint", tmp_path, change=change).options["external"]
    restore = plan("restore", tmp_path, change=change)
    assert restore.inherited == {"extRootNetNS": "/proc/self/ns/net"}
    assert restore.options["join_ns"] == [("ipc", "/proc/self/ns/ipc")]


def test_flags_become_options(tmp_path: Path) -> None:
    flags = (
        "--tcp-established",
        "--leave-running",
        "--parent-path",
        "../first",
        "--page-server",
        "10.0.0.1:99",
    )
    options = plan(
        "checkpoint", tmp_path, *flags, "--manage-cgroups-mode", "full", "--empty-ns", "network"
    ).options
    wanted = {"tcp_established": True, "leave_running": True, "parent_img": "../first", "track_mem": True}
    assert options.items() >= {**wanted, "manage_cgroups_mode": 4, "empty_ns": 0x40000000}.items()
    assert options["page_server"] == ("10.0.0.1", 99)
    assert plan("checkpoint", tmp_path, "--pre-dump").kind == "pre-dump"


@pytest.mark.parametrize(
    "flags", [("--manage-cgroups-mode", "x"), ("--empty-ns", "pid"), ("--page-server", "x")]
)
def test_flags_that_make_no_sense_are_refused(tmp_path: Path, flags: tuple[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=flags[0]):
        plan("checkpoint", tmp_path, *flags)


def test_a_directory_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no checkpoint is there"):
        plan("restore", tmp_path)


def test_errors_are_found_in_the_log(tmp_path: Path) -> None:
    lines = [
        "(00.1) Error (criu/net.c:3071): Locking network failed",
        "(00.2) fine",
        "(00.3) Error (criu/cr-dump.c:2053): Dumping FAILED.",
    ]
    (tmp_path / "dump.log").write_text("\n".join(lines))
    images = Images("", str(tmp_path))
    assert read_last_errors(images, "dump.log") == "Locking network failed"
    assert read_last_errors(images, "none.log") == ""
