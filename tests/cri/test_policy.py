"""A signature policy as the kubelet meets it."""

import pytest

from rundlet.cri.client import Client
from rundlet.errors import PermissionDenied
from rundlet.registry.server import RegistryServer
from tests.cri.node import Caller, publish_busybox, start_daemon

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(60)]


@pytest.fixture
def daemon(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/strict.json").write_text('{"default": [{"type": "reject"}]}')
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (tmp_path / "rundlet.toml").write_text(
        f'signature_policy = "{tmp_path}/policy.json"\nsignature_policy_dir = "{tmp_path}/policies"\n'
    )
    daemon = start_daemon(tmp_path, "--config", str(tmp_path / "rundlet.toml"))
    yield daemon
    assert daemon.stop() == 0


def test_a_refusal_is_told_the_kubelet_s_way_and_only_to_its_namespace(daemon, tmp_path):
    server = RegistryServer(str(tmp_path / "registry"))
    server.start()
    with Client(daemon.endpoint) as client:
        cri = Caller(client, publish_busybox(server.address, tmp_path), tmp_path / "logs")
        strict = {"metadata": {"name": "p", "namespace": "strict", "uid": "u"}}
        with pytest.raises(PermissionDenied, match="^SignatureValidationFailed: .*refused by the policy"):
            cri.PullImage(image={"image": cri.image}, sandbox_config=strict)
        assert not cri.ListImages().images
        assert cri.PullImage(image={"image": cri.image}).image_ref
    server.stop()
