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
from tests.keeper.deaths import kill_keeper

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


# -- those that miss nothing ------------------------------------------------------------------

FLOOD = (
    "i=0; while [ $i -lt 300 ]; do head -c 65536 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done; echo last"
)
FLOOD_BYTES = 300 * 65537 + len("last\n")


def test_a_slow_reader_loses_nothing_and_hears_the_exit_code(
    keeper: Keeper, bundle: Path, tmp_path: Path
) -> None:
    """Attached before the start; nearly 20 MB, more than its socket holds, and it begins to read when the container waits."""
    log = tmp_path / "log"
    add_applet(bundle, "tr")
    keeper.create(plan("c", config("sh", "-c", f"{FLOOD}; exit 7"), bundle), log_path=str(log))
    slow = keeper.attach("c", stdin=False, lossless=True)
    keeper.start("c")
    assert keeper.wait("c", 0.5) is None, "it did not wait for its reader"
    got = read_all(slow)
    assert len(got[1]) == FLOOD_BYTES
    assert slow.exit is not None
    assert slow.exit.exit_code == 7
    assert read_log(log, "stdout").count("x") == 300 * 65536


def test_an_end_waits_for_no_reader(keeper: Keeper, bundle: Path) -> None:
    """What a container that has ended left in its pipes fits into the reader's socket."""
    keeper.create(plan("c", config("sh", "-c", "head -c 500000 /dev/zero; exit 3"), bundle))
    slow = keeper.attach("c", stdin=False, lossless=True)
    keeper.start("c")
    assert keeper.wait("c", 20) is not None
    keeper.delete("c")
    assert read_all(slow)[1] == bytes(500000)
    assert slow.exit is not None
    assert slow.exit.exit_code == 3


def test_a_reader_that_goes_away_stops_nobody(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    add_applet(bundle, "tr")
    keeper.create(plan("c", config("sh", "-c", FLOOD), bundle), log_path=str(log))
    slow = keeper.attach("c", lossless=True)
    keeper.start("c")
    assert keeper.wait("c", 0.5) is None
    slow.close()
    assert keeper.wait("c", 20) is not None
    assert read_log(log, "stdout").count("x") == 300 * 65536


def test_a_terminal_waits_for_a_slow_reader(keeper: Keeper, bundle: Path) -> None:
    add_applet(bundle, "seq")
    keeper.create(plan("c", config("sh", "-c", "stty -onlcr; seq 300000; exit 5", terminal=True), bundle))
    add_applet(bundle, "stty")
    slow = keeper.attach("c", lossless=True)
    keeper.start("c")
    assert keeper.wait("c", 0.5) is None
    assert read_all(slow)[1].split() == [b"%d" % number for number in range(1, 300001)]
    assert slow.exit is not None
    assert slow.exit.exit_code == 5


@pytest.mark.parametrize("victim", ["supervisor", "anchor"])
def test_a_slow_reader_does_not_notice_a_killed_keeper(
    keeper: Keeper, bundle: Path, tmp_path: Path, victim: str
) -> None:
    add_applet(bundle, "seq")
    keeper.create(plan("c", config("sh", "-c", "read x; seq 1000000; read x; exit 9"), bundle), stdin=True)
    slow = keeper.attach("c", lossless=True)
    keeper.start("c")
    slow.send(b"\n")
    assert keeper.wait("c", 0.3) is None
    kill_keeper(keeper, victim)
    numbers = read_until(slow, b"\n1000000\n").split()
    slow.send(b"\n")
    assert read_all(slow)[1] == b""
    assert slow.exit is not None
    assert slow.exit.exit_code == 9
    assert numbers == [b"%d" % number for number in range(1, 1000001)]


def test_many_slow_readers_do_not_notice_a_killed_keeper(keeper: Keeper, bundle: Path) -> None:
    """More than the anchor takes in one packet."""
    keeper.create(
        plan("c", config("sh", "-c", "printf 'half a line'; read x; echo; exit 2"), bundle), stdin=True
    )
    slow = [keeper.attach("c", lossless=True) for _ in range(12)]
    keeper.start("c")
    assert [read_until(reader, b"half a line") for reader in slow] == [b"half a line"] * 12
    kill_keeper(keeper, "supervisor")
    slow[0].send(b"\n")
    assert [read_all(reader)[1] for reader in slow] == [b"\n"] * 12
    assert [reader.exit.exit_code for reader in slow if reader.exit] == [2] * 12


def test_without_a_log_nothing_is_written_and_attach_works(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "echo out; printf err >&2"), bundle))
    before = sorted(bundle.iterdir())
    caller = keeper.attach("c", lossless=True)
    keeper.start("c")
    assert read_all(caller) == {1: b"out\n", 2: b"err"}
    assert sorted(bundle.iterdir()) == before
