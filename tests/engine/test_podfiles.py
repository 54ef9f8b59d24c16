import os

from rundlet.engine.options import Dns, Namespaces, PodOptions, Security
from rundlet.engine.podfiles import format_hosts, format_resolv_conf, locate_files, remove_files, write_files


def test_resolv_conf():
    dns = Dns(servers=("1.1.1.1", "::1"), searches=("a.b", "c"), options=("ndots:5",))
    assert format_resolv_conf(dns) == ("search a.b c\nnameserver 1.1.1.1\nnameserver ::1\noptions ndots:5\n")
    assert format_resolv_conf(Dns()) == ""


def test_hosts_names_the_pod():
    assert "10.88.0.2\tredis\n" in format_hosts("redis", ("10.88.0.2",))
    assert format_hosts("redis", ()).startswith("127.0.0.1\tlocalhost\n")


def test_files_are_readable_whatever_the_umask(tmp_path):
    previous = os.umask(0o077)
    try:
        write_files(str(tmp_path), PodOptions(name="p"), "redis", ("10.88.0.2",))
    finally:
        os.umask(previous)
    assert (tmp_path / "hostname").read_text() == "redis\n"
    assert {path.name for path in tmp_path.iterdir()} == {"hosts", "hostname", "resolv.conf"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.iterdir())


def test_a_pod_in_the_hosts_network_has_the_hosts_files(tmp_path):
    node = PodOptions(name="p", security=Security(namespaces=Namespaces(network="node", ipc="node")))
    write_files(str(tmp_path), node, "machine", ())
    with open("/etc/hosts", "rb") as file:
        assert (tmp_path / "hosts").read_bytes() == file.read()
    assert locate_files(str(tmp_path), node).shm == "/dev/shm"
    assert locate_files("/d", PodOptions(name="p")).shm == "/d/shm"


def test_remove_twice(tmp_path):
    directory = tmp_path / "pod"
    directory.mkdir()
    (directory / "hosts").touch()
    remove_files(str(directory))
    remove_files(str(directory))
    assert not directory.exists()
