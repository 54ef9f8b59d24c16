"""RPCs of pod sandboxes."""

import time
from collections.abc import Iterator

from grpc import ServicerContext as Context

from rundlet.cri import options
from rundlet.cri.batch import batches
from rundlet.cri.insight import why_info
from rundlet.cri.messages import container_status_message, pod_message, pod_status_message
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerFilter
from rundlet.engine.status import PodStatus
from rundlet.spec.json import encode


def _pod_info(pod: PodStatus) -> dict[str, str]:
    """Verbose facts; `netnsPath` serves nsenter, as no process needs to live in an idle pod."""
    facts = {"netnsPath": pod.netns_path, "ips": pod.ips, "options": pod.options}
    return {"info": encode(facts).decode()}


class PodRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine

    def RunPodSandbox(self, request: api.RunPodSandboxRequest, context: Context) -> api.RunPodSandboxResponse:
        asked = options.pod_options(request.config, request.runtime_handler)
        pod_id = self.engine.pods.run(asked)
        if not context.is_active():
            self.engine.pods.offer_again(asked, pod_id)
        return api.RunPodSandboxResponse(pod_sandbox_id=pod_id)

    def StopPodSandbox(self, request: api.StopPodSandboxRequest, _: Context) -> api.StopPodSandboxResponse:
        self.engine.pods.stop(request.pod_sandbox_id)
        return api.StopPodSandboxResponse()

    def RemovePodSandbox(
        self, request: api.RemovePodSandboxRequest, _: Context
    ) -> api.RemovePodSandboxResponse:
        self.engine.pods.remove(request.pod_sandbox_id)
        return api.RemovePodSandboxResponse()

    def PodSandboxStatus(
        self, request: api.PodSandboxStatusRequest, _: Context
    ) -> api.PodSandboxStatusResponse:
        """With its containers as they are at `timestamp`, for a kubelet that listens to events."""
        pod = self.engine.pods.status(request.pod_sandbox_id)
        timestamp_ns = time.time_ns()
        containers = self.engine.containers.list(ContainerFilter(pod_id=pod.id))
        return api.PodSandboxStatusResponse(
            status=pod_status_message(pod),
            info=_pod_info(pod) | why_info(self.engine.insight, pod.id) if request.verbose else {},
            containers_statuses=map(container_status_message, containers),
            timestamp=timestamp_ns,
        )

    def _list_pods(self, filter: api.PodSandboxFilter) -> list[api.PodSandbox]:
        return [pod_message(pod) for pod in self.engine.pods.list(options.pod_filter(filter))]

    def ListPodSandbox(self, request: api.ListPodSandboxRequest, _: Context) -> api.ListPodSandboxResponse:
        return api.ListPodSandboxResponse(items=self._list_pods(request.filter))

    def StreamPodSandboxes(
        self, request: api.StreamPodSandboxesRequest, _: Context
    ) -> Iterator[api.StreamPodSandboxesResponse]:
        for batch in batches(self._list_pods(request.filter)):
            yield api.StreamPodSandboxesResponse(pod_sandboxes=batch)

    def UpdatePodSandboxResources(
        self, request: api.UpdatePodSandboxResourcesRequest, _: Context
    ) -> api.UpdatePodSandboxResourcesResponse:
        """As UpdateContainerResources, for the limits of the pod as a whole."""
        asked = (options.changed_resources(message) for message in (request.resources, request.overhead))
        self.engine.pods.update_resources(request.pod_sandbox_id, *asked)
        return api.UpdatePodSandboxResourcesResponse()
