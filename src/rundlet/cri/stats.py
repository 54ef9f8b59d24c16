"""RPCs of resource usage."""

from collections.abc import Iterator

from grpc import ServicerContext as Context

from rundlet.cri import options
from rundlet.cri.batch import batches
from rundlet.cri.messages import container_stats_message, pod_stats_message
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine


class StatsRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine

    def ContainerStats(self, request: api.ContainerStatsRequest, _: Context) -> api.ContainerStatsResponse:
        stats = self.engine.containers.stats(request.container_id)
        return api.ContainerStatsResponse(stats=container_stats_message(stats))

    def _container_stats(self, filter: api.ContainerStatsFilter) -> list[api.ContainerStats]:
        found = self.engine.containers.list_stats(options.container_stats_filter(filter))
        return [container_stats_message(stats) for stats in found]

    def ListContainerStats(
        self, request: api.ListContainerStatsRequest, _: Context
    ) -> api.ListContainerStatsResponse:
        return api.ListContainerStatsResponse(stats=self._container_stats(request.filter))

    def StreamContainerStats(
        self, request: api.StreamContainerStatsRequest, _: Context
    ) -> Iterator[api.StreamContainerStatsResponse]:
        for batch in batches(self._container_stats(request.filter)):
            yield api.StreamContainerStatsResponse(container_stats=batch)

    def PodSandboxStats(self, request: api.PodSandboxStatsRequest, _: Context) -> api.PodSandboxStatsResponse:
        return api.PodSandboxStatsResponse(
            stats=pod_stats_message(self.engine.pods.stats(request.pod_sandbox_id))
        )

    def _pod_stats(self, filter: api.PodSandboxStatsFilter) -> list[api.PodSandboxStats]:
        found = self.engine.pods.list_stats(options.pod_stats_filter(filter))
        return [pod_stats_message(stats) for stats in found]

    def ListPodSandboxStats(
        self, request: api.ListPodSandboxStatsRequest, _: Context
    ) -> api.ListPodSandboxStatsResponse:
        return api.ListPodSandboxStatsResponse(stats=self._pod_stats(request.filter))

    def StreamPodSandboxStats(
        self, request: api.StreamPodSandboxStatsRequest, _: Context
    ) -> Iterator[api.StreamPodSandboxStatsResponse]:
        for batch in batches(self._pod_stats(request.filter)):
            yield api.StreamPodSandboxStatsResponse(pod_sandbox_stats=batch)
