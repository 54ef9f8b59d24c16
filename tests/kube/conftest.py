"""A machine as in tests/local, and an image of this host's redis."""

import shutil

import pytest

from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from tests.local.conftest import image, machine, machine_settings, registry

__all__ = ["image", "machine", "machine_settings", "registry"]


@pytest.fixture(scope="session")
def redis_image(registry, tmp_path_factory):
    """redis-server, redis-cli and busybox."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server not on this host")
    layout = Layout(str(tmp_path_factory.mktemp("layout")))
    build_host_image(["redis-server", "redis-cli"], layout, "redis")
    name = f"{registry}/redis:host"
    client = RegistryClient()
    try:
        push_image(layout, "redis", client, name)
    finally:
        client.close()
    return name
