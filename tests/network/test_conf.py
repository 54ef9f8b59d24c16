import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# --- plugin files, versions, changes -----------------------------------------


def plugin_list(**members):
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}], **members})


def types(directory):
    return [plugin.type for plugin in directory.load().network.plugins]


def test_plugin_files_of_a_list(tmp_path):
    write(tmp_path, "10-net.conflist", plugin_list())
    (tmp_path / "net").mkdir()
    write(tmp_path / "net", "20-b.conf", json.dumps({"type": "tuning"}))
    write(tmp_path / "net", "10-a.conf", json.dumps({"type": "portmap"}))
    write(tmp_path / "net", "30-c.txt", "not a plugin")

    assert types(ConfDirectory(str(tmp_path))) == ["bridge", "portmap", "tuning"]


def test_list_of_nothing_but_plugin_files(tmp_path):
    write(tmp_path, "10-net.conflist", json.dumps({"cniVersion": "1.0.0", "name": "net"}))
    assert ConfDirectory(str(tmp_path)).load().network is None
    (tmp_path / "net").mkdir()
    write(tmp_path / "net", "10-a.conf", json.dumps({"type": "ptp"}))

    assert types(ConfDirectory(str(tmp_path))) == ["ptp"]


def test_list_with_only_its_own_plugins(tmp_path):
    write(tmp_path, "10-net.conflist", plugin_list(loadOnlyInlinedPlugins=True))
    (tmp_path / "net").mkdir()
    write(tmp_path / "net", "10-a.conf", json.dumps({"type": "portmap"}))

    assert types(ConfDirectory(str(tmp_path))) == ["bridge"]


def test_wrong_plugin_file_is_named(tmp_path):
    write(tmp_path, "10-net.conflist", plugin_list())
    (tmp_path / "net").mkdir()
    write(tmp_path / "net", "10-a.conf", json.dumps({"type": "../x"}))

    loaded = ConfDirectory(str(tmp_path)).load()

    assert loaded.network is None
    assert "net/10-a.conf" in loaded.faults[0]


@pytest.mark.parametrize(
    ("members", "version"),
    [
        ({"cniVersion": "0.4.0"}, "0.4.0"),
        ({"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0", "2.0.0"]}, "1.1.0"),
        ({"cniVersion": "3.0.0", "cniVersions": ["0.3.1"]}, "0.3.1"),
    ],
)
def test_newest_version_that_is_known(tmp_path, members, version):
    write(tmp_path, "10-net.conflist", plugin_list(**members))

    assert ConfDirectory(str(tmp_path)).load().network.cni_version == version


@given(st.lists(st.sampled_from(["bridge", "ptp", "macvlan", "ipvlan", "dummy"]), min_size=2, max_size=8))
@settings(max_examples=20, deadline=None)
def test_no_change_is_missed(tmp_path_factory, kinds):
    """Same length, same inode, within one tick of the clock."""
    tmp_path = tmp_path_factory.mktemp("conf")
    directory = ConfDirectory(str(tmp_path))
    for kind in kinds:
        write(tmp_path, "10-a.conf", conf("a", kind.ljust(8, "x")))
        assert types(directory) == [kind.ljust(8, "x")]


def test_change_of_a_plugin_file_is_seen(tmp_path):
    write(tmp_path, "10-net.conflist", plugin_list())
    (tmp_path / "net").mkdir()
    directory = ConfDirectory(str(tmp_path))
    assert types(directory) == ["bridge"]
    write(tmp_path / "net", "10-a.conf", json.dumps({"type": "portmap"}))

    assert types(directory) == ["bridge", "portmap"]


def test_nothing_is_read_again_while_nothing_changes(tmp_path, monkeypatch):
    write(tmp_path, "10-a.conf", conf("a"))
    long_ago = time.time_ns() + 10**9
    monkeypatch.setattr(time, "time_ns", lambda: long_ago)
    directory = ConfDirectory(str(tmp_path))

    assert directory.load() is directory.load()


def test_others_can_be_asked_for(tmp_path):
    write(tmp_path, "10-a.conf", conf("a"))
    write(tmp_path, "20-b.conf", conf("b"))
    write(tmp_path, "99-lo.conf", conf("lo", "loopback"))

    assert [network.name for network in ConfDirectory(str(tmp_path)).load().networks()] == ["a", "b"]
