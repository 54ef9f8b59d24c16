"""Attach: fan-out to many, back-pressure for none, stdin."""

import os
import select
from pathlib import Path

import pytest

from rundlet.errors import FailedPrecondition
from rundlet.keeper.client import Keeper
from rundlet.keeper.handles import Attachment
from tests.keeper.bundle import config, plan
from tests.keeper.conftest import read_log

pytestmark = pytest.mark.kernel


def add_applet(bundle: Path, name: str) -> None:
    if not (bundle / "rootfs/bin" / name).exists():
        os.link(bundle / "rootfs/bin/busybox", bundle / "rootfs/bin" / name)


def read_all(attachment: Attachment) -> dict[int, bytes]:
    """By channel, until the container's streams end."""
    got = {1: b"", 2: b""}
    while (packet := attachment.receive()) is not None:
        got[packet[0]] += packet[1]
    attachment.close()
    return got


def read_until(attachment: Attachment, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        packet = attachment.receive()
        assert packet is not None, got
        got += packet[1]
    return got


def test_everyone_attached_gets_all_from_then_on(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "echo out; echo err >&2; printf tail"), bundle))
    callers = [keeper.attach("c") for _ in range(5)]
    keeper.start("c")
    assert [read_all(caller) for caller in callers] == [{1: b"out\ntail", 2: b"err\n"}] * 5


def test_a_prompt_without_a_newline_comes_at_once(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "printf 'name? '; read x; echo got $x"), bundle), stdin=True)
    attachment = keeper.attach("c")
    keeper.start("c")
    assert read_until(attachment, b"? ") == b"name? "
    attachment.send(b"bob\n")
    assert read_all(attachment)[1] == b"got bob\n"


def test_a_caller_that_does_not_read_stops_nobody(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 300 ]; do head -c 65536 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done; echo last"
    log = tmp_path / "log"
    add_applet(bundle, "tr")
    keeper.create(plan("c", config("sh", "-c", script), bundle), log_path=str(log))
    lazy, eager = keeper.attach("c"), keeper.attach("c")
    keeper.start("c")
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 0
    assert read_log(log, "stdout").count("x") == 300 * 65536
    assert read_log(log, "stdout").endswith("last\n")
    assert 0 < len(read_all(lazy)[1]) < 300 * 65537
    eager.close()


def test_input_waits_for_the_container_and_not_the_keeper(keeper: Keeper, bundle: Path) -> None:
    """Half a megabyte is more than the FIFO and the socket take: send(2) blocks until the container reads."""
    keeper.create(
        plan("c", config("sh", "-c", "read go; echo on; cat | wc -c"), bundle), stdin=True, stdin_once=True
    )
    add_applet(bundle, "wc")
    attachment = keeper.attach("c")
    keeper.start("c")
    attachment.send(b"go\n")
    for _ in range(16):
        attachment.send(b"x" * 32768)
        assert keeper.state("c").status == "running"
    attachment.close_stdin()
    assert read_all(attachment)[1].split() == [b"on", b"524288"]


def test_stdin_once_ends_with_the_first_caller_that_had_it(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("cat"), bundle), stdin=True, stdin_once=True)
    keeper.start("c")
    onlooker = keeper.attach("c", stdin=False)
    onlooker.close()
    attachment = keeper.attach("c")
    attachment.send(b"text")
    attachment.close()
    record = keeper.wait("c", 10)
    assert record is not None
    assert record.exit_code == 0


def test_stdin_stays_open_from_caller_to_caller(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "read a; read b; echo $a $b"), bundle), stdin=True)
    keeper.start("c")
    first = keeper.attach("c")
    first.send(b"one\n")
    first.close_stdin()
    first.close()
    second = keeper.attach("c")
    second.send(b"two\n")
    assert read_all(second)[1] == b"one two\n"


def test_a_terminal_is_typed_into_and_resized(keeper: Keeper, bundle: Path) -> None:
    script = "stty size; echo ready; read x; stty size; exit 4"
    add_applet(bundle, "stty")
    keeper.create(plan("c", config("sh", "-c", script, terminal=True), bundle))
    keeper.resize("c", 33, 99)
    attachment = keeper.attach("c")
    keeper.start("c")
    assert b"33 99" in read_until(attachment, b"ready")
    keeper.resize("c", 40, 120)
    attachment.send(b"\n")
    assert b"40 120" in read_all(attachment)[1]
    assert keeper.wait("c", 10).exit_code == 4  # type: ignore[union-attr]


def test_what_cannot_be_attached_or_resized(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("true"), bundle))
    with pytest.raises(FailedPrecondition, match="no terminal"):
        keeper.resize("c", 1, 1)
    keeper.start("c")
    keeper.wait("c", 10)
    with pytest.raises(FailedPrecondition, match="has stopped"):
        keeper.attach("c")


def test_the_end_reaches_a_caller_that_polls(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    attachment = keeper.attach("c")
    keeper.delete("c")
    assert select.select([attachment], [], [], 10)[0]
    assert attachment.receive() is None
