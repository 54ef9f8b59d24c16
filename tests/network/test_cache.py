import base64
import json
import threading

import pytest

from rundlet.errors import DataLoss
from rundlet.network.cache import Cache, Entry
from rundlet.network.call import Attachment
from rundlet.spec.cni import Interface, IpConfig, Result, parse_network_conf

NETWORK = parse_network_conf(
    b'{"cniVersion": "0.4.0", "name": "my-net", "plugins": [{"type": "bridge"}, {"type": "portmap"}]}'
)
ATTACHMENT = Attachment(
    "pod1",
    "eth0",
    netns_path="/run/netns/x",
    args=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")),
    capabilities={"portMappings": [{"hostPort": 80}]},
)
RESULT = Result(
    interfaces=(Interface("eth0", sandbox="/run/netns/x"),), ips=(IpConfig("10.0.0.2/24", interface=0),)
)


def test_entry_reads_back(tmp_path):
    cache = Cache(str(tmp_path))
    entry = Entry(NETWORK, ATTACHMENT, RESULT)

    cache.write(entry)

    assert Cache(str(tmp_path)).find("pod1") == [entry]


def test_document_is_libcnis(tmp_path):
    Cache(str(tmp_path), "/var/lib/rundlet").write(Entry(NETWORK, ATTACHMENT, RESULT))

    document = json.loads((tmp_path / "results" / "my-net-pod1-eth0").read_text())

    config = json.loads(base64.b64decode(document.pop("config")))
    assert [plugin["type"] for plugin in config["plugins"]] == ["bridge", "portmap"]
    assert document.pop("engine") == "/var/lib/rundlet"
    assert document == {
        "kind": "cniCacheV1",
        "containerId": "pod1",
        "ifName": "eth0",
        "networkName": "my-net",
        "netns": "/run/netns/x",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "web"]],
        "capabilityArgs": {"portMappings": [{"hostPort": 80}]},
        "result": {
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
            "ips": [{"version": "4", "address": "10.0.0.2/24", "interface": 0}],
        },
    }


def test_begun_attachment_has_no_result(tmp_path):
    cache = Cache(str(tmp_path))

    cache.write(Entry(NETWORK, ATTACHMENT, None))

    assert cache.find("pod1") == [Entry(NETWORK, ATTACHMENT, None)]
    assert cache.in_use("my-net")


def test_name_that_begins_alike_is_another_network(tmp_path):
    cache = Cache(str(tmp_path))
    cache.write(Entry(NETWORK, ATTACHMENT, None))

    assert not cache.in_use("my")


def test_removed_entry_is_gone(tmp_path):
    cache = Cache(str(tmp_path))
    cache.write(Entry(NETWORK, ATTACHMENT, None))

    cache.remove("my-net", ATTACHMENT)
    cache.remove("my-net", ATTACHMENT)

    assert cache.find("pod1") == []
    assert not cache.in_use("my-net")


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"kind": "cniCacheV1", "config": "%"}'])
def test_damaged_entry_is_data_loss(tmp_path, raw):
    cache = Cache(str(tmp_path))
    cache.write(Entry(NETWORK, ATTACHMENT, None))
    (tmp_path / "results" / "my-net-pod1-eth0").write_bytes(raw)

    with pytest.raises(DataLoss, match="my-net-pod1-eth0"):
        cache.find("pod1")


def test_damaged_entry_keeps_its_network_in_use(tmp_path):
    cache = Cache(str(tmp_path))
    cache.write(Entry(NETWORK, ATTACHMENT, None))
    (tmp_path / "results" / "my-net-pod1-eth0").write_bytes(b"")

    assert cache.in_use("my-net")


def test_noting_waits_for_who_holds_the_lock(tmp_path):
    cache = Cache(str(tmp_path))
    thread = threading.Thread(target=cache.write, args=(Entry(NETWORK, ATTACHMENT, None),))

    with cache.lock("my-net"):
        thread.start()
        thread.join(0.05)
        assert not cache.in_use("my-net")
    thread.join(10)

    assert cache.in_use("my-net")
