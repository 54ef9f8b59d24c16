"""rundletd as a process with roots of its own, and an image to run, for tests in a throw-away node."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient

CONF_LIST = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]]},
        }
    ],
}


class Daemon(NamedTuple):
    process: subprocess.Popen
    socket: str
    log: Path

    @property
    def endpoint(self):
        return f"unix://{self.socket}"

    def stop(self, signum=signal.SIGTERM):
        """Sends the signal; the exit code."""
        self.process.send_signal(signum)
        with self.process:
            return self.process.wait(30)


def start_daemon(base: Path, *more: str) -> Daemon:
    """Returns when the daemon has said that it listens; `more` are further options."""
    conf = base / "net.d"
    conf.mkdir(exist_ok=True)
    leases = {"dataDir": str(base / "leases")}
    CONF_LIST["plugins"][0]["ipam"] |= leases
    (conf / "10-pods.conflist").write_text(json.dumps(CONF_LIST))
    socket = str(base / "cri.sock")
    argv = [sys.executable, "-m", "rundlet.cri.daemon", "--socket", socket]
    argv += ["--root", str(base / "root"), "--run-root", str(base / "run"), "--cni-conf", str(conf)]
    argv += ["--log-level", "info", *more]
    log = base / "rundletd.log"
    with log.open("ab") as stderr:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, text=True)
    line = process.stdout.readline()
    assert "listens on" in line, log.read_text()
    return Daemon(process, socket, log)


def publish_busybox(address: str, base: Path) -> str:
    """An image of the host's busybox in the registry at `address`; the reference to pull."""
    layout = Layout(str(base / "layout"))
    build_host_image(["busybox"], layout, "busybox", cmd=["sleep", "1000"])
    client = RegistryClient()
    reference = f"{address}/test/busybox:1"
    push_image(layout, "busybox", client, reference)
    client.close()
    return reference


class Caller:
    """CRI calls with short names; a failed one raises the rundlet error."""

    def __init__(self, client: Client, image: str, log_dir: Path) -> None:
        self.client, self.image, self.log_dir = client, image, log_dir
        self._made = 0

    def __getattr__(self, name):
        """caller.StopPodSandbox(pod_sandbox_id=…): the RPC of that name, of either service."""
        service = self.client.runtime if hasattr(self.client.runtime, name) else self.client.images
        request = getattr(api, f"{name}Request")
        return lambda timeout_s=30, **fields: self.client.call(
            getattr(service, name), request(**fields), timeout_s
        )

    def pod_config(self, **more):
        self._made += 1
        metadata = {"name": f"pod{self._made}-{os.urandom(4).hex()}", "namespace": "test", "uid": "u"}
        return api.PodSandboxConfig(**{"metadata": metadata, "log_directory": str(self.log_dir), **more})

    def run_pod(self, **more) -> str:
        return self.RunPodSandbox(config=self.pod_config(**more)).pod_sandbox_id

    def create(self, pod_id: str, *command: str, **more) -> str:
        self._made += 1
        name = f"c{self._made}"
        config = {
            "metadata": {"name": name},
            "image": {"image": self.image},
            "log_path": f"{name}-{pod_id[:8]}.log",
        }
        config |= {"command": command} | more
        return self.CreateContainer(pod_sandbox_id=pod_id, config=config).container_id

    def start(self, pod_id: str, *command: str, **more) -> str:
        container_id = self.create(pod_id, *command, **more)
        self.StartContainer(container_id=container_id)
        return container_id

    def status(self, container_id: str) -> api.ContainerStatus:
        return self.ContainerStatus(container_id=container_id).status
