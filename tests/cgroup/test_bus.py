"""The connection beside Debian's dbus-daemon, a peer that nobody here wrote."""

import os
import shutil
import socket
import subprocess
import threading

import pytest

from rundlet.cgroup.bus import Bus
from rundlet.cgroup.dbus import Variant
from rundlet.cgroup.systemd import Manager
from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, InvalidArgument, Unavailable

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""
NAME, PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"


@pytest.fixture
def address(tmp_path):
    """Where a bus daemon of this test listens."""
    program = shutil.which("dbus-daemon")
    if program is None:
        pytest.skip("dbus-daemon not on this host")
    path = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(CONFIG.format(path=path))
    ready, writer = os.pipe()
    daemon = subprocess.Popen(
        [
            program,
            f"--config-file={tmp_path}/bus.conf",
            "--nofork",
            "--nopidfile",
            f"--print-address={writer}",
        ],
        pass_fds=[writer],
    )
    os.close(writer)
    assert os.read(ready, 4096)
    os.close(ready)
    yield str(path)
    daemon.kill()
    daemon.wait()


@pytest.fixture
def bus(address):
    connection = Bus(address, timeout_s=5)
    connection.greet()
    yield connection
    connection.close()


def test_calls_are_answered(bus):
    names = bus.call(NAME, PATH, NAME, "ListNames")[0]
    assert NAME in names
    assert bus.call(NAME, PATH, NAME, "NameHasOwner", "s", NAME) == (True,)


def test_properties_of_every_kind_are_read(bus):
    (values,) = bus.call(NAME, PATH, "org.freedesktop.DBus.Properties", "GetAll", "s", NAME)
    assert values["Interfaces"].signature == "as"


def test_signals_that_came_during_a_call_are_kept(bus):
    bus.watch("type='signal',member='NameOwnerChanged'")
    assert bus.call(NAME, PATH, NAME, "RequestName", "su", "test.rundlet", 4) == (1,)
    found = bus.await_signal(lambda message: message.member == "NameOwnerChanged")
    assert found.body[0] == "test.rundlet"


def test_a_signal_that_never_comes(address):
    bus = Bus(address, timeout_s=0.1)
    bus.greet()
    with pytest.raises(DeadlineExceeded):
        bus.await_signal(lambda message: message.member == "Never")
    bus.close()


def test_values_pass_through_the_daemon_and_back(bus, address):
    """The daemon checks every byte of a message that it passes on."""
    properties = [
        ("PIDs", Variant("au", [1, 2])),
        ("Delegate", Variant("b", True)),
        ("DeviceAllow", Variant("a(ss)", [("/dev/char/1:3", "rw")])),
        ("AllowedCPUs", Variant("ay", [3])),
        ("MemoryMax", Variant("t", (1 << 64) - 1)),
    ]
    other = Bus(address, timeout_s=5)
    name = other.greet()
    other._begin()
    caller = threading.Thread(target=_call_and_fail, args=(bus, name, properties))
    caller.start()
    while (call := other._receive()).member != "Start":
        pass
    other.close()  # the daemon tells the caller that nobody is there any more
    caller.join()
    assert call.body == ("x.scope", "fail", properties, [])


def _call_and_fail(bus, name, properties):
    with pytest.raises(Unavailable):
        bus.call(name, "/a", "a.b", "Start", "ssa(sv)a(sa(sv))", "x.scope", "fail", properties, [])


def test_errors_of_the_peer_are_ours(bus):
    with pytest.raises(InvalidArgument):
        bus.call(NAME, PATH, NAME, "NameHasOwner", "u", 5)
    with pytest.raises(FailedPrecondition, match="refuses Nothing"):
        bus.call(NAME, PATH, NAME, "Nothing")


def test_a_bus_without_systemd(address):
    with pytest.raises(Unavailable, match="refuses Subscribe"):
        Manager(address)


def test_nobody_listens(tmp_path):
    with pytest.raises(Unavailable, match="no such file"):
        Bus(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "answer", [b"", b"REJECTED\r\n", b"HTTP/1.1 400" * 1000, b"OK 1\r\nl\x09junk" + bytes(64)]
)
def test_peers_that_speak_something_else(tmp_path, answer):
    path = str(tmp_path / "bus")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(100)
                peer.sendall(answer)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(100):
                    pass

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(Error):
            _meet(path)
        server.join()


def _meet(path):
    bus = Bus(path, timeout_s=2)
    try:
        bus.greet()
    finally:
        bus.close()
