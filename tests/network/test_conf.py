import json
import os

from rundlet.network.conf import ConfDirectory


def write(directory, name, text):
    (directory / name).write_text(text)


def conf(name, kind="bridge"):
    return json.dumps({"cniVersion": "0.4.0", "name": name, "type": kind})


def test_first_in_lexical_order_is_the_network(tmp_path):
    write(tmp_path, "20-b.conf", conf("b"))
    write(tmp_path, "10-a.json", conf("a"))
    write(tmp_path, "05-readme.txt", "not a configuration")

    assert ConfDirectory(str(tmp_path)).load().network.name == "a"


def test_list_of_plugins(tmp_path):
    plugins = {"cniVersion": "0.4.0", "name": "a", "plugins": [{"type": "bridge"}, {"type": "portmap"}]}
    write(tmp_path, "10-a.conflist", json.dumps(plugins))

    network = ConfDirectory(str(tmp_path)).load().network

    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap"]


def test_invalid_file_is_skipped_and_told(tmp_path):
    write(tmp_path, "10-a.conf", "{")
    write(tmp_path, "20-b.conf", json.dumps({"cniVersion": "0.4.0", "type": "bridge"}))
    write(tmp_path, "30-c.conf", conf("c"))

    loaded = ConfDirectory(str(tmp_path)).load()

    assert loaded.network.name == "c"
    assert [os.path.basename(fault.split(":")[0]) for fault in loaded.faults] == ["10-a.conf", "20-b.conf"]


def test_loopback_alone_is_no_network_for_pods(tmp_path):
    write(tmp_path, "05-loopback.conf", conf("lo", "loopback"))
    write(tmp_path, "10-a.conf", conf("a"))

    assert ConfDirectory(str(tmp_path)).load().network.name == "a"


def test_missing_directory_is_an_empty_one(tmp_path):
    assert ConfDirectory(str(tmp_path / "nothing")).load().network is None


def test_change_is_seen(tmp_path):
    directory = ConfDirectory(str(tmp_path))
    assert directory.load().network is None

    write(tmp_path, "10-a.conf", conf("a"))
    assert directory.load().network.name == "a"

    write(tmp_path, "10-a.conf", conf("changed"))
    assert directory.load().network.name == "changed"

    (tmp_path / "10-a.conf").unlink()
    assert directory.load().network is None
