"""A gRPC server whose engine is never reached: what the wall itself answers."""

from types import SimpleNamespace

import pytest

from rundlet.cri.client import Client
from rundlet.cri.server import Server
from rundlet.engine.settings import Settings
from rundlet.trace.tracer import Tracer

# What the server asks of an engine that does nothing.
IDLE = SimpleNamespace(tracer=Tracer(), insight=None, settings=Settings())


@pytest.fixture
def server(tmp_path):
    server = Server(IDLE, f"unix://{tmp_path}/cri.sock")
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def client(server):
    with Client(f"unix://{server.path}") as client:
        yield client
