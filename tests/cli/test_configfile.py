"""Pod and container files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cli.configfile import load_container_config, load_pod_config
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import Error, InvalidArgument, NotFound

POD = {"metadata": {"name": "a", "namespace": "b", "uid": "c", "attempt": 1}}
CONTAINER = {"metadata": {"name": "a"}, "image": {"image": "redis"}}


def write(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_three_spellings_of_a_key(tmp_path):
    path = write(
        tmp_path, POD | {"log_directory": "/a", "dnsConfig": {"servers": ["1.1.1.1"]}, "Hostname": "h"}
    )
    config = load_pod_config(path)
    assert (config.log_directory, config.hostname) == ("/a", "h")
    assert list(config.dns_config.servers) == ["1.1.1.1"]


def test_enums_by_number_and_by_name(tmp_path):
    ports = [{"protocol": 1, "container_port": 1}, {"protocol": "SCTP", "container_port": "2"}]
    config = load_pod_config(write(tmp_path, POD | {"port_mappings": ports}))
    assert [port.protocol for port in config.port_mappings] == [api.UDP, api.SCTP]
    assert [port.container_port for port in config.port_mappings] == [1, 2]


def test_environment_values_are_plain_text(tmp_path):
    config = load_container_config(
        write(tmp_path, CONTAINER | {"envs": [{"key": "GREETING", "value": "héllo"}]})
    )
    assert config.envs[0].value == "héllo".encode()


def test_yaml(tmp_path):
    path = write(
        tmp_path, "metadata: {name: a, namespace: b}\nlabels:\n  app: web\nlinux:\n  security_context: {}\n"
    )
    config = load_pod_config(path)
    assert dict(config.labels) == {"app": "web"}
    assert config.linux.HasField("security_context")
    assert config.metadata.uid, "a missing uid is made up"


def test_unknown_keys_are_reported_and_ignored(tmp_path, capsys):
    old = {"linux": {"security_context": {"namespace_options": {"host_network": False, "pid": 2}}}}
    config = load_pod_config(write(tmp_path, POD | old))
    assert config.linux.security_context.namespace_options.pid == api.NODE
    warning = capsys.readouterr().err
    assert "linux.security_context.namespace_options.host_network" in warning


def test_null_is_absent(tmp_path):
    assert load_pod_config(write(tmp_path, POD | {"linux": None, "labels": None})).metadata.attempt == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json: Expecting property name"),
        ("a: [", "config.json: while parsing"),
        ("[]", "config.json: document: expected an object, got an array"),
        ("", "config.json: document: expected an object"),
        ({"metadata": {"namespace": "b"}}, "config.json: metadata.name is missing"),
        ({"metadata": {"name": "b"}}, "config.json: metadata.namespace is missing"),
        (POD | {"labels": []}, "config.json: labels: expected an object, got an array"),
        (POD | {"labels": {"a": 1}}, "config.json: labels.a: expected text, got a number"),
        (POD | {"hostname": 1}, "config.json: hostname: expected text, got a number"),
        (POD | {"port_mappings": {}}, "config.json: port_mappings: expected an array, got an object"),
        (
            POD | {"port_mappings": [{"container_port": "x"}]},
            "config.json: port_mappings[0].container_port: expected a whole number, got 'x'",
        ),
        (
            POD | {"port_mappings": [{"container_port": 2**31}]},
            "config.json: port_mappings[0].container_port: out of range: 2147483648",
        ),
        (
            POD | {"port_mappings": [{"protocol": "QUIC"}]},
            "config.json: port_mappings[0].protocol: expected one of TCP, UDP, SCTP, got 'QUIC'",
        ),
        (
            POD | {"linux": {"security_context": {"privileged": "yes"}}},
            "config.json: linux.security_context.privileged: expected true or false, got 'yes'",
        ),
        (
            {"metadata": {"name": "a", "namespace": "b", "attempt": -1}},
            "config.json: metadata.attempt: out of range: -1",
        ),
    ],
)
def test_a_wrong_file_names_the_place(tmp_path, content, message):
    with pytest.raises(InvalidArgument) as caught:
        load_pod_config(write(tmp_path, content))
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_container_needs_an_image(tmp_path):
    with pytest.raises(InvalidArgument, match="image.image is missing"):
        load_container_config(write(tmp_path, {"metadata": {"name": "a"}}))


def test_a_missing_file():
    with pytest.raises(NotFound):
        load_pod_config("/nonexistent.json")


def test_no_text_file(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument):
        load_pod_config(str(tmp_path / "x"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([field.name for field in api.PodSandboxConfig.DESCRIPTOR.fields])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(values)
def test_any_document_loads_or_fails_cleanly(tmp_path_factory, value):
    path = write(tmp_path_factory.mktemp("fuzz"), value)
    try:
        load_pod_config(path)
    except Error as error:
        assert "\n" not in error.message
