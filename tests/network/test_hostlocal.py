import json
import os
import subprocess

import pytest

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, ResourceExhausted
from rundlet.network.call import Attachment, Call
from rundlet.network.hostlocal import HostLocal

REFERENCE = "/usr/lib/cni/host-local"


@pytest.fixture
def call(tmp_path):
    def make(container_id="pod1", **ipam):
        conf = {
            "cniVersion": "0.4.0",
            "name": "mynet",
            "type": "bridge",
            "ipam": {"type": "host-local", "dataDir": str(tmp_path / "leases"), **ipam},
        }
        return Call("mynet", "0.4.0", "host-local", conf, Attachment(container_id, "eth0"), None, None)

    return make


def test_one_address_of_each_set_with_its_gateway(call):
    ranges = [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00::/64", "gateway": "fd00::9"}]]

    result = HostLocal().add(call(ranges=ranges, routes=[{"dst": "0.0.0.0/0"}]))

    assert [(ip.address, ip.gateway) for ip in result.ips] == [
        ("10.88.0.2/16", "10.88.0.1"),
        ("fd00::1/64", "fd00::9"),
    ]
    assert [route.dst for route in result.routes] == ["0.0.0.0/0"]


def test_older_form_counts_as_the_first_set(call):
    result = HostLocal().add(
        call(subnet="10.0.0.0/24", rangeStart="10.0.0.50", ranges=[[{"subnet": "10.1.0.0/24"}]])
    )

    assert [ip.address for ip in result.ips] == ["10.0.0.50/24", "10.1.0.2/24"]


def test_ranges_of_the_runtime_come_first(call):
    request = call(subnet="10.0.0.0/24")
    request.conf["runtimeConfig"] = {"ipRanges": [[{"subnet": "10.5.0.0/24"}]]}

    assert [ip.address for ip in HostLocal().add(request).ips] == ["10.5.0.2/24", "10.0.0.2/24"]


def test_name_servers_from_a_file(call, tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# ours\nnameserver 192.0.2.53\nnameserver fd00::53\ndomain x.example\nsearch a.example b.example\noptions ndots:5\n\n"
    )

    dns = HostLocal().add(call(subnet="10.0.0.0/24", resolvConf=str(path))).dns

    assert dns.nameservers == ("192.0.2.53", "fd00::53")
    assert (dns.domain, dns.search, dns.options) == ("x.example", ("a.example", "b.example"), ("ndots:5",))


def test_missing_name_server_file_takes_no_address(call, tmp_path):
    with pytest.raises(Exception, match="resolvConf"):
        HostLocal().add(call(subnet="10.0.0.0/24", resolvConf=str(tmp_path / "nothing")))

    assert not (tmp_path / "leases").exists()


def test_asked_for_addresses_are_given(call):
    ranges = [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]
    request = call(ranges=ranges)
    request.conf["args"] = {"cni": {"ips": ["10.0.0.9"]}}
    request.conf["runtimeConfig"] = {"ips": ["fd00::77/64"]}

    assert [ip.address for ip in HostLocal().add(request).ips] == ["10.0.0.9/24", "fd00::77/64"]


def test_asked_for_by_cni_args(call):
    request = call(subnet="10.0.0.0/24")
    asking = request.attachment._replace(args=(("IP", "10.0.0.5"),))

    assert [ip.address for ip in HostLocal().add(request._replace(attachment=asking)).ips] == ["10.0.0.5/24"]


@pytest.mark.parametrize(
    ("ip", "error"),
    [("10.0.0.9", AlreadyExists), ("10.9.0.9", InvalidArgument), ("10.0.0.1", InvalidArgument)],
    ids=["taken", "elsewhere", "gateway"],
)
def test_asked_for_address_that_cannot_be_given(call, ip, error, tmp_path):
    first, second = call("pod1", subnet="10.0.0.0/24"), call("pod2", subnet="10.0.0.0/24")
    first.conf["runtimeConfig"] = {"ips": ["10.0.0.9"]}
    second.conf["runtimeConfig"] = {"ips": [ip]}
    HostLocal().add(first)

    with pytest.raises(error):
        HostLocal().add(second)
    assert not [path for path in (tmp_path / "leases" / "mynet").iterdir() if b"pod2" in path.read_bytes()]


def test_status_tells_when_no_address_is_left(call):
    HostLocal().status(call(subnet="10.0.0.0/30"))
    HostLocal().add(call(subnet="10.0.0.0/30"))

    with pytest.raises(ResourceExhausted):
        HostLocal().status(call(subnet="10.0.0.0/30"))


def test_leases_of_attachments_that_are_no_more_are_collected(call, tmp_path):
    for pod in ("pod1", "pod2", "pod3"):
        HostLocal().add(call(pod, subnet="10.0.0.0/24"))
    request = call(subnet="10.0.0.0/24")
    request.conf["cni.dev/valid-attachments"] = [{"containerID": "pod2", "ifname": "eth0"}]

    HostLocal().collect(request)

    left = [path for path in (tmp_path / "leases" / "mynet").iterdir() if path.name.startswith("10.")]
    assert [path.name for path in left] == ["10.0.0.3"]


def test_no_range_at_all_is_refused(call):
    with pytest.raises(InvalidArgument, match="neither subnet nor ranges"):
        HostLocal().add(call())


def test_check_wants_the_lease(call):
    plugin = HostLocal()
    with pytest.raises(FailedPrecondition):
        plugin.check(call(subnet="10.0.0.0/24"))

    plugin.add(call(subnet="10.0.0.0/24"))

    plugin.check(call(subnet="10.0.0.0/24"))


# --- beside the reference plugin -------------------------------------------


class Reference:
    """The program, asked as a runtime asks it."""

    def __init__(self):
        if not os.path.exists(REFERENCE):
            pytest.skip("containernetworking-plugins not on this host")

    def run(self, command, request):
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": request.attachment.container_id,
            "CNI_IFNAME": request.attachment.ifname,
            "CNI_NETNS": "/dev/null",
            "CNI_PATH": "/usr/lib/cni",
        }
        done = subprocess.run(
            [REFERENCE],
            env=environment,
            input=json.dumps(request.conf),
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(done.stdout) if done.stdout else {}

    def add(self, request):
        return [ip["address"] for ip in self.run("ADD", request)["ips"]]

    def delete(self, request):
        self.run("DEL", request)


class Ours:
    def add(self, request):
        return [ip.address for ip in HostLocal().add(request).ips]

    def delete(self, request):
        HostLocal().delete(request)


RANGES = [
    [{"subnet": "10.0.0.0/29"}, {"subnet": "10.0.1.0/24", "rangeStart": "10.0.1.7", "rangeEnd": "10.0.1.9"}],
    [{"subnet": "fd00::/124", "rangeEnd": "fd00::b"}],
]


def play(call, plugins):
    """Ten pods come and some go, each step done by the next of `plugins`; the addresses given."""
    turns = (
        [("add", n) for n in range(6)] + [("delete", 1), ("delete", 4)] + [("add", n) for n in range(6, 10)]
    )
    given = []
    for turn, (action, number) in enumerate(turns):
        request = call(f"pod{number}", ranges=RANGES)
        given.append(getattr(plugins[turn % len(plugins)], action)(request))
    return given


@pytest.mark.differential
def test_addresses_come_in_the_reference_plugins_order(tmp_path, call):
    reference = play(call, [Reference()])
    os.rename(tmp_path / "leases", tmp_path / "reference")

    assert play(call, [Ours()]) == reference

    for name in os.listdir(tmp_path / "reference" / "mynet"):
        theirs, ours = tmp_path / "reference" / "mynet" / name, tmp_path / "leases" / "mynet" / name
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.differential
def test_the_two_plugins_take_turns_on_one_directory(tmp_path, call):
    alone = play(call, [Reference()])
    os.rename(tmp_path / "leases", tmp_path / "reference")

    assert play(call, [Ours(), Reference()]) == alone
