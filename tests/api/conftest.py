"""A client of a machine with places of its own."""

from collections.abc import Iterator

import pytest

from rundlet.api.client import Client
from rundlet.local.settings import MachineSettings
from tests.engine.conftest import registry
from tests.local.conftest import machine_settings

__all__ = ["machine_settings", "registry"]


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/busybox:latest"


@pytest.fixture
def client(machine_settings: MachineSettings) -> Iterator[Client]:
    with Client(settings=machine_settings) as client:
        yield client
        for pod in client.machine.engine.pods.list():
            client.machine.engine.pods.remove(pod.id)
