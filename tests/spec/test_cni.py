import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec.cni import (
    VERSIONS,
    Dns,
    Interface,
    IpConfig,
    Result,
    Route,
    encode_result,
    parse_error,
    parse_network_conf,
    parse_result,
    result_document,
)

BRIDGE = {
    "cniVersion": "0.2.0",
    "name": "mynet",
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipMasq": True,
    "ipam": {"type": "host-local", "subnet": "10.88.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]},
}

ADDRESSES = st.ip_addresses()
PREFIXED = ADDRESSES.map(lambda address: f"{address}/{24 if address.version == 4 else 64}")
RESULTS = st.builds(
    lambda ips, routes, dns: Result(
        (Interface("eth0", "02:00:00:00:00:01", sandbox="/x"),), ips, routes, dns
    ),
    st.lists(
        st.builds(IpConfig, PREFIXED, st.just("") | ADDRESSES.map(str), st.none() | st.just(0)), max_size=3
    ).map(tuple),
    st.lists(st.builds(Route, PREFIXED, st.just("") | ADDRESSES.map(str)), max_size=3).map(tuple),
    st.builds(Dns, nameservers=st.lists(st.text(), max_size=2).map(tuple), domain=st.text()),
)


@given(result=RESULTS, version=st.sampled_from(VERSIONS[2:]))
def test_a_result_survives_every_version_with_interfaces(result: Result, version: str) -> None:
    assert parse_result(encode_result(result, version)) == result


@given(result=RESULTS, version=st.sampled_from(VERSIONS[:2]))
def test_an_old_version_keeps_the_first_address_of_each_family(result: Result, version: str) -> None:
    once = parse_result(encode_result(result, version))
    for family in ("4", "6"):
        of_family = [ip.address for ip in result.ips if (":" in ip.address) == (family == "6")]
        kept = [ip.address for ip in once.ips if (":" in ip.address) == (family == "6")]
        assert kept == of_family[:1]
    assert parse_result(encode_result(once, version)) == once


def test_the_wire_forms() -> None:
    result = Result(
        (Interface("eth0", sandbox="/run/netns/a"),),
        (IpConfig("10.88.0.2/16", "10.88.0.1", 0),),
        (Route("0.0.0.0/0"),),
    )
    ip = {"address": "10.88.0.2/16", "gateway": "10.88.0.1", "interface": 0}
    rest = {
        "interfaces": [{"name": "eth0", "sandbox": "/run/netns/a"}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    assert result_document(result, "0.2.0") == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.88.0.2/16", "gateway": "10.88.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "dns": {},
    }
    assert result_document(result, "0.4.0") == {
        "cniVersion": "0.4.0",
        "ips": [{"version": "4", **ip}],
        **rest,
    }
    assert result_document(result, "1.1.0") == {"cniVersion": "1.1.0", "ips": [ip], **rest}


def test_a_result_without_version_is_read_as_the_request_s() -> None:
    raw = b'{"ips": [{"address": "10.0.0.2/8"}]}'
    assert parse_result(raw, "1.0.0").ips == (IpConfig("10.0.0.2/8"),)
    assert parse_result(raw).ips == ()


@pytest.mark.parametrize(
    "members",
    [
        {"ips": [{"address": "10.0.0.300/8"}]},
        {"ips": [{"address": "10.0.0.2/8", "gateway": "no"}]},
        {"ips": [{"address": "10.0.0.2/8", "interface": 1}], "interfaces": [{"name": "a"}]},
        {"ips": [{"address": "10.0.0.2/8", "interface": -1}], "interfaces": [{"name": "a"}]},
        {"routes": [{"dst": "default"}]},
        {"routes": [{"dst": "0.0.0.0/0", "gw": "x"}]},
        {"cniVersion": "9.0.0"},
    ],
)
def test_a_wrong_result_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        parse_result(json.dumps({"cniVersion": "1.0.0", **members}).encode())


def test_a_single_conf_is_a_list_of_one() -> None:
    conf = parse_network_conf(json.dumps(BRIDGE).encode())
    assert (conf.name, conf.cni_version) == ("mynet", "0.2.0")
    assert [plugin.type for plugin in conf.plugins] == ["bridge"]
    assert conf.plugins[0].raw == BRIDGE


def test_a_single_conf_may_have_no_name() -> None:
    assert parse_network_conf(b'{"cniVersion": "0.2.0", "type": "loopback"}').name == ""


def test_a_list_keeps_every_plugin_as_it_stands() -> None:
    plugins = [{"type": "bridge", "x": None}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    conf = parse_network_conf(json.dumps({"name": "a", "plugins": plugins, "disableGC": True}).encode())
    assert [plugin.raw for plugin in conf.plugins] == plugins
    assert conf.plugins[1].capabilities == {"portMappings": True}
    assert (conf.cni_version, conf.disable_gc, conf.disable_check) == ("0.1.0", True, False)


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [(["1.1.0", "1.0.0"], "1.1.0"), (["2.0.0", "0.4.0"], "1.0.0"), ([], "1.0.0")],
)
def test_the_newest_known_version_is_chosen(versions: list[str], chosen: str) -> None:
    raw = json.dumps({"cniVersion": "1.0.0", "cniVersions": versions, "name": "a", "type": "b"}).encode()
    assert parse_network_conf(raw).cni_version == chosen


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"[]",
        b'{"type": ""}',
        b'{"type": "../../bin/sh"}',
        b'{"type": ".."}',
        b'{"type": "a", "name": "../x"}',
        b'{"type": "a", "name": ".x"}',
        b'{"type": "a", "name": "x\\n"}',
        b'{"type": "a", "cniVersion": "7"}',
        b'{"name": "a", "plugins": []}',
        b'{"plugins": [{"type": "a"}]}',
        b'{"name": "a", "plugins": [{}]}',
        b'{"name": "a", "plugins": [{"type": "a"}], "disableCheck": "maybe"}',
    ],
)
def test_a_wrong_conf_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^x: "):
        parse_network_conf(raw, "x")


def test_a_plugin_s_error() -> None:
    error = parse_error(b'{"cniVersion": "1.0.0", "code": 11, "msg": "try again", "details": null}')
    assert (error.code, error.msg, error.details) == (11, "try again", "")


# --- every version to every other ------------------------------------------------

RICH = st.builds(
    Result,
    st.lists(
        st.builds(
            Interface,
            st.sampled_from(["eth0", "veth1", "cni0"]),
            st.sampled_from(["", "02:00:00:00:00:01"]),
            st.integers(0, 9000),
            st.sampled_from(["", "/run/netns/a"]),
            st.sampled_from(["", "/run/s"]),
            st.sampled_from(["", "0000:00:1f.0"]),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    st.lists(
        st.builds(IpConfig, PREFIXED, st.just("") | ADDRESSES.map(str), st.none() | st.just(0)), max_size=4
    ).map(tuple),
    st.lists(
        st.builds(
            Route,
            PREFIXED,
            st.just("") | ADDRESSES.map(str),
            st.integers(0, 9000),
            st.integers(0, 9000),
            st.integers(0, 100),
            st.none() | st.integers(0, 300),
            st.none() | st.integers(0, 254),
        ),
        max_size=4,
    ).map(tuple),
    st.builds(Dns, nameservers=st.lists(ADDRESSES.map(str), max_size=2).map(tuple)),
)
ALL = st.sampled_from(VERSIONS)


@given(RICH, ALL, ALL)
def test_conversion_to_any_version_and_back(result: Result, first: str, second: str) -> None:
    """What a version has no room for goes once; nothing else is lost on any way between versions."""
    through = parse_result(encode_result(result, first))
    again = parse_result(encode_result(parse_result(encode_result(through, second)), first))
    if VERSIONS.index(second) >= VERSIONS.index(first):
        assert again == through
    assert parse_result(encode_result(through, first)) == through
    assert [ip.address for ip in again.ips if ":" not in ip.address][:1] == [
        ip.address for ip in result.ips if ":" not in ip.address
    ][:1]


@given(RICH, ALL)
def test_a_document_says_its_version_and_only_what_that_has(result: Result, version: str) -> None:
    document = result_document(result, version)

    assert document["cniVersion"] == version
    if version in VERSIONS[:2]:
        assert set(document) <= {"cniVersion", "ip4", "ip6", "dns"}
    elif version in VERSIONS[2:5]:
        assert all(set(one) <= {"name", "mac", "sandbox"} for one in document.get("interfaces", ()))
        assert all(set(one) <= {"dst", "gw"} for one in document.get("routes", ()))
        assert all(one["version"] in "46" for one in document.get("ips", ()))
