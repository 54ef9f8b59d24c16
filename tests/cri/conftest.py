"""A gRPC server whose engine is never reached: what the wall itself answers."""

import pytest

from rundlet.cri.client import Client
from rundlet.cri.server import Server


@pytest.fixture
def server(tmp_path):
    server = Server(None, f"unix://{tmp_path}/cri.sock")
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def client(server):
    with Client(f"unix://{server.path}") as client:
        yield client
