"""Pod up: RunPodSandbox over CRI, with the CNI bridge network, to the answer."""

import time

from rundlet.cli.walk_place import Daemon, Place
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api


def make_request(number: int, place: Place) -> api.RunPodSandboxRequest:
    name = f"bench-{number}"
    metadata = api.PodSandboxMetadata(name=name, uid=name, namespace="bench")
    config = api.PodSandboxConfig(metadata=metadata, log_directory=place.log_dir)
    config.linux.cgroup_parent = f"/bench/{name}"
    return api.RunPodSandboxRequest(config=config)


def run_pod(client: Client, request: api.RunPodSandboxRequest) -> float:
    """Milliseconds of RunPodSandbox; the pod is removed off the clock."""
    started_ns = time.perf_counter_ns()
    pod_id = client.call(client.runtime.RunPodSandbox, request).pod_sandbox_id
    elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
    remove_pod(client, pod_id)
    return elapsed_ms


def remove_pod(client: Client, pod_id: str) -> None:
    client.call(client.runtime.StopPodSandbox, api.StopPodSandboxRequest(pod_sandbox_id=pod_id))
    client.call(client.runtime.RemovePodSandbox, api.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def measure_pods(directory: str, rounds: int, warm_up: int) -> list[float]:
    """Milliseconds of every pod, over our own bridge plugin.

    One pod stays up throughout, as on a node in use: the bridge is there already.
    """
    with Place.make(keep=False, base=directory) as place:
        place.write_network()
        place.write_config("builtin")
        daemon = Daemon(place)
        daemon.start()
        try:
            with Client(f"unix://{place.socket}") as client:
                first = client.call(client.runtime.RunPodSandbox, make_request(0, place)).pod_sandbox_id
                times = [
                    run_pod(client, make_request(number, place)) for number in range(1, rounds + warm_up + 1)
                ]
                remove_pod(client, first)
        finally:
            daemon.stop()
    return times[warm_up:]
