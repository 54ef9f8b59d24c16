"""The steps of the walk, in order: what each is called, how a shell would do it, what it does.

A step is a value; its action takes the walk's state and answers the lines to
show.  The runner in walk.py numbers, times and prints them.  Commands use the
shell's names for what earlier steps answered: $POD_ID, $CONTAINER_ID.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

from rundlet.cli import walk_redis
from rundlet.cli.configfile import load_container_config, load_pod_config
from rundlet.cli.walk_place import Daemon, Place
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import FailedPrecondition

POD_ADDRESS = "10.88.0.2"
REDIS_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10
_LOG_LINES = 4
_LOG_TIMEOUT_S = 5.0


class Walk:
    """What the steps hand on to each other."""

    def __init__(self, place: Place, image: str) -> None:
        self.place = place
        self.image = image
        self.daemon = Daemon(place)
        self.pod_id = ""
        self.container_id = ""
        self.address = ""

    @cached_property
    def client(self) -> Client:
        """Connected when the first step after the daemon's start asks for it."""
        return Client(f"unix://{self.place.socket}")

    def sandbox_config(self) -> api.PodSandboxConfig:
        return load_pod_config(self.place.sandbox_json)

    def container_config(self) -> api.ContainerConfig:
        return load_container_config(self.place.container_json)

    def container_status(self) -> api.ContainerStatus:
        return self.client.call(
            self.client.runtime.ContainerStatus, api.ContainerStatusRequest(container_id=self.container_id)
        ).status


class Step(NamedTuple):
    title: str
    command: str
    run: Callable[[Walk], list[str]]


def expect(what: str, got: str, wanted: str) -> None:
    if got != wanted:
        raise FailedPrecondition(f"{what}: expected {wanted!r}, got {got!r}")


def show_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(sep=" ", timespec="microseconds")


def start_daemon(walk: Walk) -> list[str]:
    pid = walk.daemon.start()
    return [f"pid {pid} listens on unix://{walk.place.socket}"]


def ask_version(walk: Walk) -> list[str]:
    answer = walk.client.call(walk.client.runtime.Version, api.VersionRequest())
    expect("RuntimeApiVersion", answer.runtime_api_version, "v1")
    return [
        f"Version:  {answer.version}",
        f"RuntimeName:  {answer.runtime_name}",
        f"RuntimeVersion:  {answer.runtime_version}",
        f"RuntimeApiVersion:  {answer.runtime_api_version}",
    ]


def pull_image(walk: Walk) -> list[str]:
    spec = api.ImageSpec(image=walk.image)
    answer = walk.client.call(walk.client.images.PullImage, api.PullImageRequest(image=spec))
    image = walk.client.call(
        walk.client.images.ImageStatus, api.ImageStatusRequest(image=api.ImageSpec(image=answer.image_ref))
    ).image
    return [f"Image is up to date for {answer.image_ref}", f"{image.size / 1e6:.1f} MB as {image.id}"]


def run_pod(walk: Walk) -> list[str]:
    request = api.RunPodSandboxRequest(config=walk.sandbox_config())
    walk.pod_id = walk.client.call(walk.client.runtime.RunPodSandbox, request).pod_sandbox_id
    return [walk.pod_id]


def inspect_pod(walk: Walk) -> list[str]:
    answer = walk.client.call(
        walk.client.runtime.PodSandboxStatus,
        api.PodSandboxStatusRequest(pod_sandbox_id=walk.pod_id, verbose=True),
    )
    pod = answer.status
    walk.address = pod.network.ip
    expect("pod address", walk.address, POD_ADDRESS)
    return [
        f"ID: {pod.id}",
        f"Name: {pod.metadata.name}",
        f"UID: {pod.metadata.uid}",
        f"Namespace: {pod.metadata.namespace}",
        f"Attempt: {pod.metadata.attempt}",
        f"Status: {api.PodSandboxState.Name(pod.state)}",
        f"Created: {show_time(pod.created_at)}",
        f"IP Address: {pod.network.ip}",
        "Labels:",
        *(f"\t{key} -> {value}" for key, value in sorted(pod.labels.items())),
        "Annotations:",
        *(f"\t{key} -> {value}" for key, value in sorted(pod.annotations.items())),
    ]


def create_container(walk: Walk) -> list[str]:
    request = api.CreateContainerRequest(
        pod_sandbox_id=walk.pod_id, config=walk.container_config(), sandbox_config=walk.sandbox_config()
    )
    walk.container_id = walk.client.call(walk.client.runtime.CreateContainer, request).container_id
    return [walk.container_id]


def start_container(walk: Walk) -> list[str]:
    walk.client.call(
        walk.client.runtime.StartContainer, api.StartContainerRequest(container_id=walk.container_id)
    )
    return [walk.container_id]


def inspect_container(walk: Walk) -> list[str]:
    status = walk.container_status()
    expect("container state", api.ContainerState.Name(status.state), "CONTAINER_RUNNING")
    return [
        f"Name: {status.metadata.name}",
        f"State: {api.ContainerState.Name(status.state)}",
        f"Created: {show_time(status.created_at)}",
        f"Started: {show_time(status.started_at)}",
        f"Image: {status.image.image}",
        f"Log: {status.log_path}",
    ]


def talk_to_redis(walk: Walk) -> list[str]:
    lines = [f"Connected to {walk.address}."]
    with walk_redis.connect(walk.address, REDIS_TIMEOUT_S) as connection:
        for command, wanted in (("PING", "+PONG"), ("SET walk rundlet", "+OK"), ("GET walk", "rundlet")):
            answer = walk_redis.ask(connection, command)
            expect(command, answer, wanted)
            lines.append(f"{command} -> {answer}")
    return lines


def exec_redis_cli(walk: Walk) -> list[str]:
    lines = []
    for words, wanted in ((("ping",), "PONG"), (("get", "walk"), "rundlet")):
        request = api.ExecSyncRequest(container_id=walk.container_id, cmd=["redis-cli", *words], timeout=10)
        answer = walk.client.call(walk.client.runtime.ExecSync, request)
        output = (answer.stdout or answer.stderr).decode(errors="replace").strip()
        expect(f"exit code of redis-cli {' '.join(words)}", f"{answer.exit_code} {output}", f"0 {wanted}")
        lines.append(f"redis-cli {' '.join(words)} -> {output}")
    return lines


def show_log(walk: Walk) -> list[str]:
    """The first lines; the log is written by the keeper a moment after the container wrote."""
    path = walk.container_status().log_path
    deadline_s = time.monotonic() + _LOG_TIMEOUT_S
    while time.monotonic() < deadline_s and not (os.path.exists(path) and os.path.getsize(path)):
        time.sleep(0.01)
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    if not lines:
        raise FailedPrecondition(f"log {path}: nothing in it")
    return [*lines[:_LOG_LINES], f"({len(lines)} lines in {path})"]


def stop_container(walk: Walk) -> list[str]:
    walk.client.call(
        walk.client.runtime.StopContainer,
        api.StopContainerRequest(container_id=walk.container_id, timeout=STOP_TIMEOUT_S),
    )
    status = walk.container_status()
    expect("container state", api.ContainerState.Name(status.state), "CONTAINER_EXITED")
    return [f"exit code {status.exit_code}, {status.reason}"]


def remove_container(walk: Walk) -> list[str]:
    walk.client.call(
        walk.client.runtime.RemoveContainer, api.RemoveContainerRequest(container_id=walk.container_id)
    )
    return [walk.container_id]


def stop_pod(walk: Walk) -> list[str]:
    walk.client.call(
        walk.client.runtime.StopPodSandbox, api.StopPodSandboxRequest(pod_sandbox_id=walk.pod_id)
    )
    return [f"Stopped sandbox {walk.pod_id}"]


def remove_pod(walk: Walk) -> list[str]:
    walk.client.call(
        walk.client.runtime.RemovePodSandbox, api.RemovePodSandboxRequest(pod_sandbox_id=walk.pod_id)
    )
    return [f"Removed sandbox {walk.pod_id}"]


def list_pods(walk: Walk) -> list[str]:
    pods = walk.client.call(walk.client.runtime.ListPodSandbox, api.ListPodSandboxRequest()).items
    expect("pods", str(len(pods)), "0")
    return ["no pod"]


def list_containers(walk: Walk) -> list[str]:
    containers = walk.client.call(walk.client.runtime.ListContainers, api.ListContainersRequest()).containers
    expect("containers", str(len(containers)), "0")
    return ["no container"]


def stop_daemon(walk: Walk) -> list[str]:
    walk.client.close()
    expect("exit code of rundletd", str(walk.daemon.stop()), "0")
    return ["rundletd has ended"]


def steps_of(walk: Walk) -> tuple[Step, ...]:
    place = walk.place
    return (
        Step("start the daemon", f"{' '.join(place.daemon_argv())} &", start_daemon),
        Step("ask its version", "rundlet version", ask_version),
        Step("pull the image", f"rundlet pull {walk.image}", pull_image),
        Step("run the pod sandbox", "POD_ID=$(rundlet runp sandbox_config.json)", run_pod),
        Step("inspect the pod", "rundlet inspectp --output table $POD_ID", inspect_pod),
        Step(
            "create the container",
            "CONTAINER_ID=$(rundlet create $POD_ID container_redis.json sandbox_config.json)",
            create_container,
        ),
        Step("start the container", "rundlet start $CONTAINER_ID", start_container),
        Step("inspect the container", "rundlet inspect $CONTAINER_ID", inspect_container),
        Step("talk to redis", f"telnet {POD_ADDRESS} {walk_redis.PORT}", talk_to_redis),
        Step("run redis-cli inside", "rundlet exec --sync $CONTAINER_ID redis-cli …", exec_redis_cli),
        Step("read the log", "rundlet logs $CONTAINER_ID", show_log),
        Step("stop the container", "rundlet stop $CONTAINER_ID", stop_container),
        Step("remove the container", "rundlet rm $CONTAINER_ID", remove_container),
        Step("stop the pod", "rundlet stopp $POD_ID", stop_pod),
        Step("remove the pod", "rundlet rmp $POD_ID", remove_pod),
        Step("list the pods", "rundlet pods", list_pods),
        Step("list the containers", "rundlet ps --all", list_containers),
        Step("stop the daemon", "kill %1; wait", stop_daemon),
    )
