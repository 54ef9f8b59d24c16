"""Namespaces without processes, on the real kernel."""

import fcntl
import os
import select
import socket
import subprocess
from pathlib import Path

import pytest

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.keeper.client import Keeper
from rundlet.keeper.place import keeper_dir
from rundlet.spec import runtime as spec
from tests.keeper.bundle import config, plan

pytestmark = pytest.mark.kernel


def close_fds(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def nsenter(kind: str, path: str, *command: str) -> str:
    return subprocess.run(
        ["nsenter", f"--{kind}={path}", *command], check=True, capture_output=True, text=True
    ).stdout


def test_pinned_namespaces_are_new_and_furnished(keeper: Keeper) -> None:
    pod = keeper.make_pod(
        "p",
        ("net", "ipc", "uts"),
        hostname="podhost",
        sysctls={"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "1024 65000"},
    )
    try:
        assert nsenter("uts", pod.paths["uts"], "hostname") == "podhost\n"
        assert nsenter("ipc", pod.paths["ipc"], "cat", "/proc/sys/kernel/shm_rmid_forced") == "1\n"
        assert nsenter("net", pod.paths["net"], "cat", "/proc/sys/net/ipv4/ip_local_port_range").split() == [
            "1024",
            "65000",
        ]
        assert os.path.samestat(os.fstat(pod.netns_fd), os.stat(pod.paths["net"]))
    finally:
        close_fds(pod.netns_fd, pod.route_fd)
        keeper.remove_pod("p")


def test_a_pod_goes_with_all_that_runs_in_it(keeper: Keeper, bundle: Path) -> None:
    """The init ends only when the containers in its PID namespace are reaped, by the same process."""
    pod = keeper.make_pod("p", ("pid",))
    joined = config("sleep", "1000").replace(
        linux=spec.Linux(
            namespaces=[
                spec.Namespace("mount"),
                spec.Namespace("uts"),
                spec.Namespace("pid", pod.paths["pid"]),
            ]
        ),
    )
    keeper.create(plan("c", joined, bundle))
    keeper.start("c")
    keeper.call("remove_pod", {"pod_id": "p"}, timeout_s=10)
    record = keeper.wait("c", 10)
    assert record is not None
    assert record.exit_code == 137
    assert not os.path.exists(f"/proc/{pod.init_pid}")


def test_the_supervisor_comes_home(keeper: Keeper) -> None:
    supervisor = keeper.call("version", {}).message["pid"]
    before = [os.readlink(f"/proc/{supervisor}/ns/{kind}") for kind in ("net", "ipc", "uts", "pid", "mnt")]
    pod = keeper.make_pod("p", ("net", "ipc", "uts", "pid"))
    close_fds(pod.netns_fd, pod.route_fd)
    with pytest.raises(FailedPrecondition, match=r"sysctl net\.nope"):
        keeper.make_pod("q", ("net",), sysctls={"net.nope": "1"})
    with pytest.raises(InvalidArgument):
        keeper.make_pod("r", ("mnt",))
    with pytest.raises(AlreadyExists):
        keeper.make_pod("p", ("net",))
    keeper.remove_pod("p")
    after = [os.readlink(f"/proc/{supervisor}/ns/{kind}") for kind in ("net", "ipc", "uts", "pid", "mnt")]
    assert before == after
    assert os.listdir(f"{keeper.run_root}/keeper/pods") == []


def test_a_shared_pid_namespace_with_its_small_init(keeper: Keeper, bundle: Path) -> None:
    pod = keeper.make_pod("p", ("pid",))
    init = Path(f"/proc/{pod.init_pid}")
    assert (init / "comm").read_text().startswith(("rundlet-pause", "memfd:rundlet"))
    status = dict(line.split(":", 1) for line in (init / "status").read_text().splitlines())
    assert int(status["VmRSS"].split()[0]) < 64  # kB
    assert status["CapEff"].strip() == "0" * 16
    plain = config("sh", "-c", "ps; ls /proc/1/root/; (sleep 0.01 &) ; exit 0")
    shared = [item for item in plain.linux.namespaces if item.type != "pid"] + [
        spec.Namespace("pid", pod.paths["pid"])
    ]
    joined = plain.replace(linux=plain.linux.replace(namespaces=shared))
    log = bundle / "log"
    keeper.create(plan("c", joined, bundle), log_path=str(log))
    keeper.start("c")
    assert keeper.wait("c", 10) is not None
    text = log.read_text()
    assert "rundlet-pause" in text
    keeper.delete("c")
    keeper.remove_pod("p")
    keeper.remove_pod("p")
    assert not init.exists()


def test_a_pod_socket_belongs_to_the_pods_network(keeper: Keeper) -> None:
    pod = keeper.make_pod("p", ("net",))
    try:
        nsenter("net", pod.paths["net"], "ip", "link", "set", "lo", "up")
        with (
            keeper.pod_socket("p", socket.AF_INET6) as listener,
            keeper.pod_socket("p", socket.AF_INET6) as peer,
        ):
            listener.bind(("::1", 0))
            listener.listen()
            address = listener.getsockname()
            peer.connect(address)
            with pytest.raises(OSError), socket.create_connection(address[:2], timeout=1):
                pass  # nobody listens there in our own network
    finally:
        close_fds(pod.netns_fd, pod.route_fd)
        keeper.remove_pod("p")
    with pytest.raises(NotFound):
        keeper.pod_socket("p", socket.AF_INET)


def test_a_pod_socket_of_another_family_is_refused(keeper: Keeper) -> None:
    with pytest.raises(InvalidArgument):
        keeper.pod_socket("p", socket.AF_UNIX)


def test_a_pod_with_a_user_namespace_owns_the_others(keeper: Keeper) -> None:
    maps = (((0, 100000, 65536),), ((0, 100000, 65536),))
    pod = keeper.make_pod("p", ("net", "ipc", "uts", "pid"), hostname="in", user=maps)
    try:
        assert set(pod.paths) == {"net", "ipc", "uts", "pid", "user"}
        assert Path(f"/proc/{pod.init_pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
        assert nsenter("user", pod.paths["user"], "cat", "/proc/self/uid_map").split() == [
            "0",
            "100000",
            "65536",
        ]
        assert nsenter("uts", pod.paths["uts"], "hostname") == "in\n"
        owner = os.open(pod.paths["net"], os.O_RDONLY)
        try:
            user_fd = fcntl.ioctl(owner, 0xB701)  # NS_GET_USERNS, ioctl_ns(2)
            assert os.path.samestat(os.fstat(user_fd), os.stat(pod.paths["user"]))
            os.close(user_fd)
        finally:
            os.close(owner)
    finally:
        close_fds(pod.netns_fd, pod.route_fd)
        keeper.remove_pod("p")
    assert os.listdir(f"{keeper.run_root}/keeper/pods") == []


def test_pinned_namespaces_show_in_no_other_mount_namespace(keeper: Keeper) -> None:
    """Where the host's mounts are shared, every pin would be mounted in each service's namespace as well."""
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    other = subprocess.Popen(["unshare", "-m", "--propagation", "slave", "cat"], stdin=subprocess.PIPE)
    try:
        pod = keeper.make_pod("p", ("uts",))
        mounts = [Path(f"/proc/{pid}/mountinfo").read_text() for pid in ("self", other.pid)]
        assert [pod.paths["uts"] in text for text in mounts] == [True, False]
        keeper.remove_pod("p")
    finally:
        other.communicate()
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def test_a_keeper_that_leaves_takes_its_own_mounts_along(keeper: Keeper) -> None:
    place = keeper_dir(keeper.run_root)
    keeper.make_pod("p", ("uts",))
    assert os.path.ismount(f"{place}/pods")
    keeper.remove_pod("p")
    gone = os.pidfd_open(keeper.call("version", {}).message["pid"])
    keeper.close()
    select.select([gone], [], [], 10)
    os.close(gone)
    assert place not in Path("/proc/self/mountinfo").read_text()
