"""Exec, attach and port-forward through a real rundletd, with the real crictl as the client."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(60)]

CRICTL = shutil.which("crictl", path=f"{os.environ.get('PATH', '')}:/root/go/bin")
TRANSPORTS = pytest.mark.parametrize("transport", ["spdy", "websocket"])
ECHO = 'while read line; do echo "got $line"; done; echo over'


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("streaming")


@pytest.fixture(scope="module")
def daemon(base):
    from tests.cri.node import start_daemon

    daemon = start_daemon(base)
    yield daemon
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log.read_text()


@pytest.fixture(scope="module")
def cri(base, daemon):
    from rundlet.registry.server import RegistryServer
    from tests.cri.node import Caller, publish_busybox

    registry = RegistryServer(str(base / "registry"))
    registry.start()
    with Client(daemon.endpoint) as client:
        caller = Caller(client, publish_busybox(registry.address, base), base / "logs")
        caller.PullImage(image={"image": caller.image})
        registry.stop()
        yield caller


@pytest.fixture(scope="module")
def pod(cri):
    pod_id = cri.run_pod()
    yield pod_id
    cri.RemovePodSandbox(pod_sandbox_id=pod_id)


@pytest.fixture(scope="module")
def container(cri, pod):
    return cri.start(pod, "sleep", "1000")


@pytest.fixture
def crictl(daemon, base):
    if CRICTL is None:
        pytest.skip("crictl is not on this host")
    config = base / "crictl.yaml"  # without one it complains on stderr
    config.write_text(f"runtime-endpoint: {daemon.endpoint}\nimage-endpoint: {daemon.endpoint}\n")
    return (CRICTL, "--config", str(config))


@pytest.fixture(params=["crictl", "rundlet"])
def client(request, daemon):
    """The beginning of a command line: the real crictl, and our own."""
    if request.param == "crictl":
        return request.getfixturevalue("crictl")
    return (sys.executable, "-m", "rundlet.cli.main", "-r", daemon.endpoint)


def run(*argv, **options):
    return subprocess.run(argv, capture_output=True, timeout=30, check=False, **options)


# -- exec -----------------------------------------------------------------------------


@TRANSPORTS
def test_exec_keeps_both_outputs_apart(client, container, transport):
    done = run(*client, "exec", "-r", transport, container, "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


@TRANSPORTS
def test_our_exec_ends_with_the_programs_exit_code(daemon, container, transport):
    client = (sys.executable, "-m", "rundlet.cli.main", "-r", daemon.endpoint)
    assert run(*client, "exec", "-r", transport, container, "sh", "-c", "exit 7").returncode == 7


@TRANSPORTS
def test_exec_passes_the_exit_code_on(crictl, container, transport):
    done = run(*crictl, "exec", "-r", transport, container, "sh", "-c", "exit 7")
    assert done.returncode == 1  # crictl's own
    assert b"exit code 7" in done.stderr


@TRANSPORTS
def test_exec_of_a_missing_program_says_so(crictl, container, transport):
    done = run(*crictl, "exec", "-r", transport, container, "nothing-of-that-name")
    assert done.returncode == 1
    assert b"nothing-of-that-name" in done.stderr


@TRANSPORTS
def test_exec_ends_stdin_and_carries_much_both_ways(client, container, transport):
    sent = os.urandom(3 << 20)
    done = run(*client, "exec", "-i", "-r", transport, container, "cat", input=sent)
    assert done.returncode == 0, done.stderr
    assert done.stdout == sent


@TRANSPORTS
def test_what_a_process_wrote_last_is_not_lost(crictl, container, transport):
    script = "head -c 2000000 /dev/zero; echo end >&2"
    done = run(*crictl, "exec", "-r", transport, container, "sh", "-c", script)
    assert (len(done.stdout), done.stderr) == (2_000_000, b"end\n")


def test_a_child_left_behind_does_not_hold_the_session(crictl, container):
    began_s = time.monotonic()
    done = run(*crictl, "exec", container, "sh", "-c", "sleep 30 & echo left")
    assert done.stdout == b"left\n"
    assert time.monotonic() - began_s < 10


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *argv, rows=33, columns=77):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # no lock is taken there
        )
        os.close(slave)
        self.said = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def says(self, pattern, timeout_s):
        """Whether it does in time: keys that are typed before the client listens may be lost."""
        try:
            self.wait_for(pattern, timeout_s)
        except AssertionError:
            return False
        return True

    def wait_for(self, pattern, timeout_s=20):
        deadline_s = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.said)):
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, self.said
            if select.select([self.master], [], [], left_s)[0]:
                try:
                    self.said += os.read(self.master, 4096)
                except OSError:
                    assert re.search(pattern, self.said), self.said
        self.said = self.said[found.end() :]
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@TRANSPORTS
def test_exec_with_a_terminal_that_is_resized(client, container, transport):
    argv = (*client, "exec", "-i", "-t", "-r", transport, container, "sh")
    with closing(Terminal(*argv)) as terminal:
        terminal.wait_for(rb"# ")
        terminal.type("tty\n")
        terminal.wait_for(rb"/dev/pts/\d+")
        await_answer(terminal, "stty size", rb"33 77")
        terminal.resize(40, 100)
        await_answer(terminal, "stty size", rb"40 100")
        terminal.type("exit 3\n")
        assert terminal.process.wait(20) != 0


def count_processes(cri, container, marker):
    script = f"cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '{marker}' | wc -l"
    return int(cri.ExecSync(container_id=container, cmd=["sh", "-c", script]).stdout)


@TRANSPORTS
def test_a_client_that_is_killed_hangs_up_the_terminal(crictl, cri, container, transport):
    """The program on it gets SIGHUP, as when a line is cut."""
    argv = (*crictl, "exec", "-i", "-t", "-r", transport, container, "sleep", "98765")
    with closing(Terminal(*argv)):
        wait_until(lambda: count_processes(cri, container, "sleep 9876[5]") == 1)
    wait_until(lambda: count_processes(cri, container, "sleep 9876[5]") == 0)


def wait_until(check, timeout_s=10):
    deadline_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_a_user_may_open_the_streams_it_was_given(crictl, cri, pod):
    """/dev/stderr leads to the pipe, which must be the user's."""
    container = cri.start(pod, "sleep", "1000", linux={"security_context": {"run_as_user": {"value": 1234}}})
    done = run(*crictl, "exec", container, "sh", "-c", "id -u; echo err > /dev/stderr")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1234\n", b"err\n")


def test_sessions_leave_nothing_in_the_daemon(daemon, crictl, container):
    def count():
        return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

    run(*crictl, "exec", container, "true")
    before = count()
    for transport in ("spdy", "websocket") * 3:
        run(*crictl, "exec", "-r", transport, container, "nothing-of-that-name")
        run(*crictl, "exec", "-i", "-r", transport, container, "cat", input=b"x")
    wait_until(lambda: count() <= before)


def test_exec_ends_quietly_when_nobody_reads_its_output(daemon, container):
    client = f"{sys.executable} -m rundlet.cli.main -r {daemon.endpoint}"
    done = run("sh", "-c", f"{client} exec {container} yes | head -n 1")
    assert (done.stdout, done.stderr) == (b"y\n", b"")


def test_exec_in_all_containers_at_once(daemon, cri, pod):
    for _ in range(2):
        cri.start(pod, "sleep", "1000", labels={"twin": "yes"})
    client = (sys.executable, "-m", "rundlet.cli.main", "-r", daemon.endpoint)
    done = run(*client, "exec", "--parallel", "--label", "twin=yes", "echo", "here")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"here\nhere\n", b"")


# -- attach -----------------------------------------------------------------------------


@TRANSPORTS
def test_attach_types_into_the_container_and_sees_its_end(client, cri, pod, transport):
    container = cri.start(pod, "sh", "-c", ECHO, stdin=True, stdin_once=True)
    process = subprocess.Popen(
        (*client, "attach", "-i", "-r", transport, container),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"got one\n"
    out, err = process.communicate(b"two\n", timeout=20)
    assert (process.returncode, out, err) == (0, b"got two\nover\n", b"")


def test_a_burst_of_output_reaches_an_attached_client_whole(crictl, cri, pod):
    """As `kubectl run -i … -- cat file` expects it."""
    script = "read line; head -c 5000000 /dev/zero"
    container = cri.start(pod, "sh", "-c", script, stdin=True, stdin_once=True)
    done = run(*crictl, "attach", "-i", container, input=b"go\n")
    assert len(done.stdout) == 5_000_000


@TRANSPORTS
def test_attach_to_a_terminal_that_is_resized_and_left_by_its_keys(client, cri, pod, transport):
    container = cri.start(pod, "sh", stdin=True, tty=True)
    with closing(Terminal(*client, "attach", "-i", "-t", "-r", transport, container)) as terminal:
        await_answer(terminal, "stty size", rb"33 77")
        terminal.resize(40, 100)
        await_answer(terminal, "stty size", rb"40 100")
        terminal.type("\x10\x11")
        terminal.process.wait(20)
    assert cri.status(container).state == api.CONTAINER_RUNNING
    cri.RemoveContainer(container_id=container)


def await_answer(terminal, command, pattern, timeout_s=15):
    """Asks again until the answer is the expected one: a size comes on its own way, sooner or later."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        terminal.type(f"{command}\n")
        if terminal.says(pattern, 0.5):
            return
    pytest.fail(f"{command} has not said {pattern!r}")


# -- port-forward -------------------------------------------------------------------------


ECHO_SERVER = """
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 0), family=family)
print(server.getsockname()[1], flush=True)
def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
"""


@contextmanager
def echo_in_pod(cri, pod, address):
    """An echo server on the pod's loopback; its port."""
    info = cri.PodSandboxStatus(pod_sandbox_id=pod, verbose=True).info["info"]
    argv = ("nsenter", f"--net={json.loads(info)['netnsPath']}", sys.executable, "-c", ECHO_SERVER, address)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def forwarded(crictl, pod, transport, port):
    """crictl forwards a local port; which."""
    argv = (*crictl, "port-forward", "-r", transport, pod, f":{port}")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            line = process.stdout.readline()
            yield int(re.search(r"Forwarding from \S*?:(\d+) ->", line).group(1))
        finally:
            process.kill()


def send_all(sock, data):
    """And end; whoever does not want it has hung up, perhaps before."""
    with contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def talk(port, data):
    """Sends all and ends; what comes back until the other side ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sender = threading.Thread(target=send_all, args=(sock, data))
        sender.start()
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
        sender.join()
        return answer


@TRANSPORTS
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_port_forward_reaches_both_loopbacks(client, cri, pod, transport, address):
    sent = os.urandom(2 << 20)
    with echo_in_pod(cri, pod, address) as port, forwarded(client, pod, transport, port) as local:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: talk(local, sent), range(4)))
        assert all(answer == sent for answer in answers)


@TRANSPORTS
def test_port_forward_of_a_host_network_pod(crictl, cri, transport):
    node = {"security_context": {"namespace_options": {"network": "NODE"}}}
    pod = cri.run_pod(linux=node)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        forwarded(crictl, pod, transport, server.getsockname()[1]) as local,
        socket.create_connection(("127.0.0.1", local), timeout=20) as sock,
    ):
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"hello")
        assert sock.recv(100) == b"hello"
    cri.RemovePodSandbox(pod_sandbox_id=pod)


def test_port_forward_to_a_port_where_nobody_listens_says_so(crictl, pod):
    argv = (*crictl, "port-forward", pod, ":9")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        local = int(re.search(r"Forwarding from \S*?:(\d+) ->", line).group(1))
        assert talk(local, b"x") == b""
        assert "connection refused" in process.stderr.readline()
        process.kill()


# -- the RPCs -------------------------------------------------------------------------------


def test_the_streams_that_are_asked_for_are_checked(cri, container):
    for wanted in ({}, {"tty": True, "stdout": True, "stderr": True}):
        with pytest.raises(InvalidArgument):
            cri.Exec(container_id=container, cmd=["true"], **wanted)
        with pytest.raises(InvalidArgument):
            cri.Attach(container_id=container, **wanted)
    with pytest.raises(InvalidArgument):
        cri.Exec(container_id=container, stdout=True)


def test_only_what_runs_has_streams(cri, pod):
    created = cri.create(pod, "sleep", "1000")
    with pytest.raises(NotFound):
        cri.Exec(container_id=created, cmd=["true"], stdout=True)
    with pytest.raises(NotFound):
        cri.Exec(container_id="f" * 64, cmd=["true"], stdout=True)
    with pytest.raises(NotFound):
        cri.PortForward(pod_sandbox_id="f" * 64)
    other = cri.run_pod()
    cri.StopPodSandbox(pod_sandbox_id=other)
    with pytest.raises(FailedPrecondition):
        cri.PortForward(pod_sandbox_id=other)
    cri.RemovePodSandbox(pod_sandbox_id=other)
