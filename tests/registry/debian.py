"""Debian's docker-registry, started for one test."""

import contextlib
import os
import socket
import subprocess
import time

import pytest

DEBIAN_REGISTRY = "/usr/bin/docker-registry"
DEBIAN_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:{port}}}
{auth}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_listener(port, process, timeout_s=15):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail("docker-registry did not start")


@contextlib.contextmanager
def debian_registries(directory):
    """Gives a function that starts one and returns its address; all end with the context."""
    if not os.access(DEBIAN_REGISTRY, os.X_OK):
        pytest.skip(f"{DEBIAN_REGISTRY} not on this host")
    with contextlib.ExitStack() as stack:

        def make(auth=""):
            port = free_port()
            config = directory / f"registry-{port}.yml"
            config.write_text(DEBIAN_CONFIG.format(root=directory / f"debian-{port}", port=port, auth=auth))
            log = stack.enter_context(open(directory / f"registry-{port}.log", "wb"))
            process = subprocess.Popen([DEBIAN_REGISTRY, "serve", str(config)], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            wait_for_listener(port, process)
            return f"127.0.0.1:{port}"

        yield make
