"""Health checks from without."""

import pytest
from msgspec.structs import replace

from rundlet.local.health import choose_check, run_check
from rundlet.local.options import HealthCheck, NetworkChoice

pytestmark = pytest.mark.kernel
SERVER = "mkdir -p /tmp/w; echo fine > /tmp/w/ok; exec busybox httpd -f -p 8080 -h /tmp/w"


@pytest.fixture
def server(machine, asked):
    """A container that serves /ok on 8080."""
    web = replace(asked, entrypoint=("sh", "-c", SERVER), command=(), network=NetworkChoice())
    name = machine.containers.run(web)
    listens = ["sh", "-c", "until busybox grep -q :1F90 /proc/net/tcp /proc/net/tcp6; do :; done"]
    assert machine.containers.exec(name, listens, timeout_s=5).exit_code == 0
    return name


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("tcp://:8080", 0),
        ("http://:8080/ok", 0),
        ("http://:8080/none", 1),
        ("tcp://:9", 1),
        ("udp://:8080", 1),
    ],
)
def test_port_of_a_container_is_probed_from_without(machine, server, url, code):
    check = choose_check(HealthCheck(url=url, timeout_s=2), None)
    probe = run_check(machine.engine, machine.containers.get(server).id, check)
    assert probe.exit_code == code
    assert bool(probe.output) == (url != "tcp://:8080")
