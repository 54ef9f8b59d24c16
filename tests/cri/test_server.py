"""The socket and the wall: who may connect, and how failures leave."""

import os
import socket
import stat

import pytest

import rundlet
from rundlet.cri.client import Client
from rundlet.cri.endpoint import check_endpoint, socket_path
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.server import Server, clear_stale_socket
from rundlet.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from tests.cri.conftest import IDLE


def bind(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    return listener


def test_the_socket_is_the_owners_alone_and_goes_on_stop(tmp_path):
    server = Server(IDLE, f"{tmp_path}/run/cri.sock")
    umask = os.umask(0)
    os.umask(umask)
    server.start()
    mode = os.stat(server.path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert os.umask(umask) == umask, "the umask of the process is as it was"
    server.stop(0)
    assert not os.path.exists(server.path)


def test_a_dead_daemons_socket_is_replaced(tmp_path):
    bind(tmp_path / "cri.sock").close()
    clear_stale_socket(str(tmp_path / "cri.sock"))
    assert not (tmp_path / "cri.sock").exists()


def test_a_living_daemons_socket_is_left_alone(server):
    second = Server(IDLE, server.path)
    with pytest.raises(AlreadyExists):
        second.start()
    with Client(f"unix://{server.path}") as client:
        assert client.call(client.runtime.Version, api.VersionRequest()).runtime_name == "rundlet"


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    (tmp_path / "cri.sock").write_text("precious")
    with pytest.raises(FailedPrecondition):
        clear_stale_socket(str(tmp_path / "cri.sock"))
    assert (tmp_path / "cri.sock").read_text() == "precious"


@pytest.mark.parametrize("address", ["unix:///run/a.sock", "unix:/run/a.sock", "/run/a.sock"])
def test_addresses(address):
    assert socket_path(address) == "/run/a.sock"


@pytest.mark.parametrize(
    "address", ["", "run/a.sock", "unix://run/a.sock", "tcp://1.2.3.4:1", "/" + "a" * 107]
)
def test_bad_addresses(address):
    with pytest.raises(InvalidArgument):
        socket_path(address)


def test_version(client):
    answer = client.call(client.runtime.Version, api.VersionRequest(version="v1"))
    assert answer.runtime_version == rundlet.__version__
    assert (answer.runtime_name, answer.runtime_api_version) == ("rundlet", "v1")


def test_runtime_config_names_cgroupfs(client):
    answer = client.call(client.runtime.RuntimeConfig, api.RuntimeConfigRequest())
    assert answer.linux.cgroup_driver == api.CGROUPFS


def test_the_kubelets_runtime_config_is_accepted(client):
    network = api.NetworkConfig(pod_cidr="10.244.0.0/24")
    request = api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=network))
    client.call(client.runtime.UpdateRuntimeConfig, request)


def test_what_is_not_there_yet_says_so(client):
    with pytest.raises(Unimplemented, match="CheckpointPod"):
        client.call(client.runtime.CheckpointPod, api.CheckpointPodRequest())


def test_a_bad_field_is_named_to_the_caller(client):
    request = api.RunPodSandboxRequest(config={"port_mappings": [{"protocol": 9}]})
    with pytest.raises(InvalidArgument, match=r"^config\.port_mappings\[0\]\.protocol: "):
        client.call(client.runtime.RunPodSandbox, request)


def test_a_hint_crosses_the_wall_alone(client):
    request = api.RunPodSandboxRequest(
        config={"metadata": {"name": "a"}, "linux": {"security_context": {"namespace_options": {"pid": 9}}}}
    )
    with pytest.raises(InvalidArgument) as caught:
        client.call(client.runtime.RunPodSandbox, request)
    assert caught.value.hint == "known values: 0 to 3"
    assert "hint" not in caught.value.message


def test_a_bug_tells_its_class_and_no_more(client, caplog):
    with pytest.raises(Internal) as caught:
        client.call(client.runtime.StopPodSandbox, api.StopPodSandboxRequest(pod_sandbox_id="secret"))
    assert caught.value.message == "StopPodSandbox failed: AttributeError"
    assert "Traceback" in caplog.text, "the log has the rest"


def test_a_bug_in_a_stream_is_told_too(client):
    import grpc

    with pytest.raises(grpc.RpcError) as caught:
        list(client.runtime.StreamContainers(api.StreamContainersRequest()))
    assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_credentials_in_a_bad_auth_are_not_repeated(client):
    request = api.PullImageRequest(image={"image": "redis"}, auth={"auth": "cGFzc3dvcmQ=%%secret"})
    with pytest.raises(InvalidArgument) as caught:
        client.call(client.images.PullImage, request)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("size", [5 << 20, 79 << 20])
def test_large_messages_pass(client, size):
    request = api.RunPodSandboxRequest(
        config={"annotations": {"a": "x" * size}, "port_mappings": [{"protocol": 9}]}
    )
    with pytest.raises(InvalidArgument, match="protocol"):
        client.call(client.runtime.RunPodSandbox, request)


@pytest.mark.parametrize(("make", "kind"), [(False, NotFound), (True, Unavailable)])
def test_nobody_home(tmp_path, make, kind):
    if make:
        bind(tmp_path / "cri.sock").close()
    with pytest.raises(kind, match="cri.sock") as caught:
        check_endpoint(f"unix://{tmp_path}/cri.sock", 1)
    assert isinstance(caught.value, Error)
    assert caught.value.hint


def test_a_server_that_is_stopped_is_told_in_words(tmp_path):
    """The kernel takes the connection; the server's first word does not come."""
    with bind(tmp_path / "cri.sock") as listener:
        listener.listen()
        with pytest.raises(DeadlineExceeded, match="hangs or is stopped") as caught:
            check_endpoint(f"unix://{tmp_path}/cri.sock", 0.05)
        assert "rundlet why" in caught.value.hint


def test_a_runtime_that_dies_under_a_call_is_told_in_words(tmp_path):
    server = Server(IDLE, f"{tmp_path}/cri.sock")
    server.start()
    with Client(f"unix://{server.path}") as client:
        server.stop(0)
        with pytest.raises((NotFound, Unavailable), match="no CRI runtime at") as caught:
            client.call(client.runtime.Version, api.VersionRequest())
        assert caught.value.hint
